"""The directory's rules: users, leases, revisions, queries, grants. Pure: no gRPC, SQL or sockets."""
