"""What peers share: taken in, and deleted when nobody is answered it any more."""
