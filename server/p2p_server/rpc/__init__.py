"""The directory on the wire: the only importer of gRPC and of the generated contract."""
