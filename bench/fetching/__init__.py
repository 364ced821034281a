"""Whole programs that fetch from each other: one file asks one question."""
