"""Many files at once: which ones a target means, who gives them, how they come to stand on disk."""
