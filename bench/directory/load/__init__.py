"""The load generator: a process of its own that speaks real gRPC."""
