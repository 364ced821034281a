"""Many files at once: who gives which of them, and how they come to stand on disk."""
