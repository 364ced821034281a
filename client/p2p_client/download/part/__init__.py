"""The unfinished file on disk: part file, journal, and how pieces are put together in it."""
