"""Everything of the library that touches shared files. Knows nothing of catalogs or the network."""
