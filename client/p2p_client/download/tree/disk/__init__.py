"""Where a tree comes to stand: the folder, what is there already, and how files get their names."""
