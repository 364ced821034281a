"""Who gives: which peers hold the content, and each one asked for what it has."""
