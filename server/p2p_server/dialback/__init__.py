"""Dials peers back, to see that they are where they say."""
