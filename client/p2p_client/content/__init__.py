"""What content is: digests, pieces, manifests and which pieces of it we have. Pure."""
