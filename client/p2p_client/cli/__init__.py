"""The command line of a peer: what people type and what they see. No network of its own."""
