"""The stages of a transfer, each alone: `measure.py` runs what `disk.py` and `wire.py` have."""
