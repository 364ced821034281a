"""Where a download ends up: names that are harmless, and a folder that is held open."""
