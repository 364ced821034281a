"""A peer of the network: shares files, finds files, fetches files.

The public API is `Peer` with `Settings` (see `peer.py`); errors are in `errors.py`, the values that
calls return in `models.py`. Importing this package stays cheap: grpc is loaded with the first use
of `Peer`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from p2p_client.config import Settings
    from p2p_client.peer import Peer

__all__ = ["Peer", "Settings"]


def __getattr__(name: str) -> object:
    if name == "Peer":
        from p2p_client.peer import Peer

        return Peer
    if name == "Settings":
        from p2p_client.config import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
