"""The command line of the directory; no gRPC, no SQL."""
