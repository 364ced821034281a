"""What sending and receiving share: the rates that are kept, the memory that is kept."""
