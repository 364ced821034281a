"""Who may have a stream now, who waits, and in which order."""
