"""The directory's rules: users, leases, revisions, queries, grants. No gRPC, SQL or sockets."""
