"""What is given out: files of the library, and the verified pieces of running downloads."""
