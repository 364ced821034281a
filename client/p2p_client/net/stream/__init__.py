"""The data path: one streaming call over a connection of its own, read straight into place.

On the wire it is gRPC like everything else, and any gRPC server answers it. grpcio copies each
received byte several times, in pieces of 16 KiB under TLS, holding the interpreter's lock; here the
socket is read by a thread into the very memory that is hashed and written from.
"""
