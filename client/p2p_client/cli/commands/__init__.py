"""One file a command, or a pair that belongs together. Heavy imports stay inside the functions."""
