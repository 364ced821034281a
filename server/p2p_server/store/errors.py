"""Why a store cannot be used at all. What goes wrong later is `StoreUnavailable`."""


class StoreUnusable(Exception):
    """The directory must not start on this database. The text tells the operator what to do."""
