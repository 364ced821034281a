"""Contents that are held in part: what others say that they have, and what we let them have."""
