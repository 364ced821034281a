"""Measurements beside other programs. Each file asks one question; `make bench` runs them all."""
