"""Being a source: contents of the library, to holders of a grant."""
