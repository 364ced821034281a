"""Where the directory keeps what must survive it. `base.py` is the contract."""
