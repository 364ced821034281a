"""The directory: knows who is online and what each of them shares. Never holds file content."""
