"""What we share: found on disk, hashed, listed in a catalog, watched, and opened for uploads."""
