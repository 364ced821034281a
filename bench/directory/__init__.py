"""How much a directory bears: announces, searches, heartbeats, restarts, at any size."""
