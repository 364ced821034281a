"""PeerService: decode, ask the library, encode. What all calls have in common is in `answer.py`."""

from collections.abc import Callable
from datetime import datetime

from p2p.v1 import peer_pb2, types_pb2
from p2p.v1.peer_pb2_grpc import PeerServiceServicer
from p2p_client.content.digest import is_digest
from p2p_client.models import Digest, ManifestDigest, PeerId
from p2p_client.net.identity import Identity
from p2p_client.upload.admission.callers import Callers
from p2p_client.upload.admission.grants import Grant, Trust, read_grant
from p2p_client.upload.answer import Context, answering, tell_place, tell_to, write_to
from p2p_client.upload.packed import checked_digests, send_packed
from p2p_client.upload.refusals import (
    FieldInvalid,
    GrantInvalid,
    GrantMissing,
    ShuttingDown,
)
from p2p_client.upload.reports.reports import Reports
from p2p_client.upload.shown.contents import Contents
from p2p_client.upload.shown.telling import Telling
from p2p_client.upload.slots.counts import wish_of
from p2p_client.upload.slots.slots import Slots
from p2p_client.upload.stream import Send, chunk_bytes_of, end_of_range, send_range

SHORTEST_NONCE_BYTES = 16
LONGEST_NONCE_BYTES = 64
WATCHER_IDLE_SECONDS = 30.0
_PROOF_DOMAIN = b"p2p.v1.ProveIdentity\0"
_BEARER = "bearer "


class PeerServicer(PeerServiceServicer):
    """
    Args:
        clock: the directory's time, by which grants are judged.
    """

    def __init__(
        self,
        contents: Contents,
        identity: Identity,
        peer_id: PeerId,
        *,
        slots: Slots,
        callers: Callers,
        clock: Callable[[], datetime],
    ) -> None:
        self.callers = callers
        self.trust: Trust | None = None
        self.is_closing = False
        self.uploaded_bytes = 0  # of contents, over all calls
        self._contents = contents
        self._telling = Telling(contents)
        self._identity = identity
        self._peer_id = peer_id
        self._slots = slots
        self._reports = Reports(contents)
        self._clock = clock

    @property
    def watchers(self) -> int:
        return self._telling.watchers

    @answering
    async def GetManifest(
        self, request: peer_pb2.GetManifestRequest, context: Context
    ) -> peer_pb2.GetManifestResponse:
        _, digest = self._admit(context, request.digest)
        manifest = await self._contents.manifest(digest)
        return peer_pb2.GetManifestResponse(
            manifest=types_pb2.Manifest(
                size_bytes=manifest.size_bytes,
                piece_size_bytes=manifest.piece_size_bytes,
                piece_digests=manifest.piece_digests,
            )
        )

    # The stubs know streams as iterators only; an iterator is not closed when its reader goes.
    @answering
    async def FetchFile(  # type: ignore[override]
        self, request: peer_pb2.FetchFileRequest, context: Context
    ) -> None:
        grant, digest = self._admit(context, request.digest)
        size_bytes = self._contents.size_of(digest)
        offset = request.read_offset
        end = end_of_range(offset, request.read_limit, size_bytes)
        self._contents.require(digest, offset, end)
        chunk_bytes = chunk_bytes_of(request.max_chunk_bytes)
        wish = wish_of(digest, size_bytes, offset, end)
        tell = tell_place(context, peer_pb2.FetchFileResponse) if request.wait_in_queue else None
        async with self._slots.taken(grant.user, wish, tell) as turn:
            with await self._contents.open(digest) as content:
                send = self._counted(write_to(context))
                await send_range(content, offset, end, chunk_bytes, turn, send)

    @answering
    async def FetchPacked(  # type: ignore[override]
        self, request: peer_pb2.FetchPackedRequest, context: Context
    ) -> None:
        grant = self._granted(context)
        digests = checked_digests(request.digests)
        tell = tell_place(context, peer_pb2.FetchPackedResponse) if request.wait_in_queue else None
        async with self._slots.taken(grant.user, None, tell) as turn:
            send = self._counted(write_to(context))
            await send_packed(self._contents.library, grant, digests, turn, send)

    @answering
    async def ReportBadPiece(
        self, request: peer_pb2.ReportBadPieceRequest, context: Context
    ) -> peer_pb2.ReportBadPieceResponse:
        grant, digest = self._admit(context, request.digest)
        await self._reports.take(grant.user, digest, request.manifest_digest, request.piece_index)
        return peer_pb2.ReportBadPieceResponse()

    @answering
    async def WatchPieces(  # type: ignore[override]
        self, request: peer_pb2.WatchPiecesRequest, context: Context
    ) -> None:
        grant, digest = self._admit(context, request.digest)
        if not is_digest(request.manifest_digest):
            raise FieldInvalid("manifest_digest", "64 lower-case hexadecimal characters")
        manifest_digest = ManifestDigest(request.manifest_digest)
        tell = tell_to(context, WATCHER_IDLE_SECONDS)
        await self._telling.tell(grant.user, digest, manifest_digest, tell)

    @answering
    async def ProveIdentity(
        self, request: peer_pb2.ProveIdentityRequest, context: Context
    ) -> peer_pb2.ProveIdentityResponse:
        if not SHORTEST_NONCE_BYTES <= len(request.nonce) <= LONGEST_NONCE_BYTES:
            raise FieldInvalid("nonce", f"{SHORTEST_NONCE_BYTES} to {LONGEST_NONCE_BYTES} bytes")
        signed = _PROOF_DOMAIN + _prefixed(request.nonce) + _prefixed(self._peer_id.encode())
        return peer_pb2.ProveIdentityResponse(signature=self._identity.sign(signed))

    def _counted(self, send: Send) -> Send:
        async def counted(chunk: bytes, data_bytes: int) -> None:
            await send(chunk, data_bytes)
            self.uploaded_bytes += data_bytes

        return counted

    def _granted(self, context: Context) -> Grant:
        if self.is_closing:
            raise ShuttingDown()
        token = _bearer_of(context)
        if self.trust is None:
            raise GrantInvalid()  # no directory has admitted us yet: nobody can have signed one
        return read_grant(token, self.trust, self._peer_id, self._clock())

    def _admit(self, context: Context, digest: str) -> tuple[Grant, Digest]:
        grant = self._granted(context)
        if not is_digest(digest):
            raise FieldInvalid("digest", "64 lower-case hexadecimal characters")
        grant.check(Digest(digest))
        return grant, Digest(digest)


def _bearer_of(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str):
            if value[: len(_BEARER)].lower() == _BEARER:
                return value[len(_BEARER) :]
            raise GrantInvalid()
    raise GrantMissing()


def _prefixed(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
