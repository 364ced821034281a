"""Reports of bad pieces, taken and looked into; only our own disk is believed."""

import time

from p2p_client.content.digest import is_digest
from p2p_client.content.manifest import PieceIndex
from p2p_client.models import Digest
from p2p_client.upload.refusals import FieldInvalid, NoSuchPiece, TooManyReports, Unknown
from p2p_client.upload.reports.limits import ReportLimits
from p2p_client.upload.shown.contents import Contents


class Reports:
    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._limits = ReportLimits(time.monotonic())

    async def take(self, user: str, digest: Digest, manifest_digest: str, piece_index: int) -> None:
        """Returns when the piece was read again; who does not wait for that changes nothing.

        Raises:
            FieldInvalid: the manifest digest is none.
            Unknown: not shared, or under another manifest.
            NoSuchPiece: the content has no such piece.
            TooManyReports: too many reports, of this user or in all.
        """
        if not is_digest(manifest_digest):
            raise FieldInvalid("manifest_digest", "64 lower-case hexadecimal characters")
        if not self._limits.take(user, time.monotonic()):
            raise TooManyReports()
        manifest = await self._contents.manifest(digest)
        if manifest.digest() != manifest_digest:
            raise Unknown()
        if not 0 <= piece_index < manifest.piece_count:
            raise NoSuchPiece(manifest.piece_count)
        await self._contents.doubt(digest, manifest, PieceIndex(piece_index))
