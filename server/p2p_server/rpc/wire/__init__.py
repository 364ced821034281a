"""The contract's messages and the directory's values, each from the other. Protobuf stops here."""
