"""How others know a peer: its session at the directory, and what it gives while it shares."""
