"""What a download shows of itself to those who fetch the same: the seam towards the serving side.

A download does not know how it is served; one that nobody serves shows itself to nobody.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from p2p_client.content.manifest import Manifest, PieceIndex
from p2p_client.content.piece_map import PieceMap
from p2p_client.models import Digest, PeerId


class Exhibit(Protocol):
    """One unfinished content that others may fetch what is verified of."""

    peer_id: PeerId | None
    """Our name for them; None: nobody fetches from us."""

    def hold(self, index: PieceIndex) -> None:
        """The piece is verified and written."""

    def close(self, *, is_doubtful: bool = False) -> None:
        """Shown no more; again does nothing. Streams that run go on, unless what they read is in
        doubt."""

    async def publish(self, path: Path) -> None:
        """All of it is verified and stands there; closes it when that is told to others."""


OpenReader = Callable[[], int]
"""A new descriptor of the part file, for reading; the caller closes it. Raises PeerError."""

OpenExhibit = Callable[[Digest, Manifest, PieceMap, OpenReader], Exhibit | None]
"""Shows an unfinished content with what is held of it by now; None: nobody serves it."""


class Hidden:
    """Of a download that shows itself to nobody."""

    peer_id: PeerId | None = None

    def hold(self, index: PieceIndex) -> None:
        return

    def close(self, *, is_doubtful: bool = False) -> None:
        return

    async def publish(self, path: Path) -> None:
        return
