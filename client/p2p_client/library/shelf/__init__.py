"""What the library knows: bookkeeping that runs on the event loop's thread and never waits."""
