"""Many small contents in one stream: the next ones are read while the network takes the last.

Messages are encoded here, for protobuf would copy each content into a message and out of it again.
"""

from collections.abc import Iterator, Sequence

from p2p.v1 import types_pb2
from p2p_client.library.errors import ContentError, ContentUnknown
from p2p_client.library.library import Library, SmallRead
from p2p_client.models import Digest
from p2p_client.upload.admission.grants import Grant
from p2p_client.upload.refusals import FieldInvalid, TooLarge
from p2p_client.upload.slots.slots import Turn
from p2p_client.upload.status import refusal_of
from p2p_client.upload.stream import Send
from p2p_client.upload.varint import varint

MOST_DIGESTS = 5_000
LARGEST_CONTENT_BYTES = 1 << 20
LARGEST_MESSAGE_BYTES = 1 << 20  # of data
MOST_IN_MESSAGE = 1_024
MOST_IN_FIRST_MESSAGE = 32
"""Each may have four times as many as the one before: the downloader need not wait for many."""
DIGEST_BYTES = 32

_CONTENT, _INDEX, _DATA, _REASON = b"\x0a", b"\x08", b"\x12", b"\x18"
"""Tags: `contents` of FetchPackedResponse; of PackedContent the others."""

Group = Sequence[tuple[Digest, str]]
"""Contents of one message, each with the reason why it will not be in it; empty: none is known."""


def checked_digests(raw: Sequence[bytes]) -> list[Digest]:
    """Raises TooLarge, FieldInvalid."""
    if len(raw) > MOST_DIGESTS:
        raise TooLarge(MOST_DIGESTS)
    if any(len(digest) != DIGEST_BYTES for digest in raw) or len(set(raw)) != len(raw):
        raise FieldInvalid("digests", f"{DIGEST_BYTES} bytes each, and no two alike")
    return [Digest(digest.hex()) for digest in raw]


async def send_packed(
    library: Library, grant: Grant, digests: Sequence[Digest], turn: Turn, send: Send
) -> None:
    """Sends every content once, in order, or the reason why it is not there.

    Raises StreamIdle, TooManyStreams: as `Turn.sending`.
    """
    groups = _groups(library, grant, digests, min(LARGEST_MESSAGE_BYTES, turn.chunk_bytes))
    index = 0
    ahead = _start(library, next(groups, None))
    try:
        while ahead is not None:
            (group, read), ahead = ahead, None
            outcomes = iter(await library.finish_reading(read))
            ahead = _start(library, next(groups, None))
            contents = [reason or next(outcomes) for _, reason in group]
            data_bytes = sum(len(data) for data in contents if isinstance(data, bytes))
            message = encoded(contents, index)
            index += len(group)
            async with turn.sending(data_bytes):
                await send(message, data_bytes)
    finally:
        if ahead is not None:
            ahead[1].reading.cancel()


def _start(library: Library, group: Group | None) -> tuple[Group, SmallRead] | None:
    if group is None:
        return None
    return group, library.start_reading([digest for digest, reason in group if not reason])


def _groups(
    library: Library, grant: Grant, digests: Sequence[Digest], most_bytes: int
) -> Iterator[Group]:
    """Cut so that the data of each is within `most_bytes`, or it is one content."""
    group: list[tuple[Digest, str]] = []
    group_bytes, most = 0, MOST_IN_FIRST_MESSAGE
    for digest in digests:
        length, reason = _length_of(library, grant, digest)
        if group and (group_bytes + length > most_bytes or len(group) == most):
            yield group
            group, group_bytes = [], 0
            most = min(4 * most, MOST_IN_MESSAGE)
        group.append((digest, reason))
        group_bytes += length
    if group:
        yield group


def _length_of(library: Library, grant: Grant, digest: Digest) -> tuple[int, str]:
    """Bytes of the content in a message, and why there are none."""
    if not grant.covers(digest):
        return 0, "GRANT_MISMATCH"
    try:
        size_bytes = library.size_of(digest)
    except ContentUnknown:
        return 0, "CONTENT_UNKNOWN"
    return (size_bytes, "") if size_bytes <= LARGEST_CONTENT_BYTES else (0, "TOO_LARGE")


def encoded(outcomes: Sequence[bytes | ContentError | str], index: int) -> bytes:
    """A FetchPackedResponse: contents from `index` on, or why they are not there: an error, or a
    reason by name."""
    parts: list[bytes] = []
    for at, outcome in enumerate(outcomes, index):
        head = _INDEX + varint(at) if at else b""
        if isinstance(outcome, bytes):
            if outcome:
                head += _DATA + varint(len(outcome))
            parts += (_CONTENT, varint(len(head) + len(outcome)), head, outcome)
            continue
        reason = outcome if isinstance(outcome, str) else refusal_of(outcome).reason
        head += _REASON + varint(types_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"))
        parts += (_CONTENT, varint(len(head)), head)
    return b"".join(parts)
