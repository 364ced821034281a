"""What becomes of what callers are answered: told to those who watch. Pure."""
