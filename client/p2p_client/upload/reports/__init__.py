"""What others report of pieces we served."""
