"""Programs that fetch a file from one source, ours among them, each ready to be run in turn."""
