"""The threads that own connections, and what goes on between them."""
