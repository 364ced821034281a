"""What peers share: taken in, told to other instances, deleted when nobody is answered it."""
