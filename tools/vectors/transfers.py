"""What a source tells and sends beside FetchFile: packed contents, and which pieces it holds."""

from collections.abc import Iterable

from blake3 import blake3
from tools.vectors.base import Case, chunk, number, varint

# Values of ErrorReason, by their names on the wire.
REASONS = {
    "TOO_LARGE": 3,
    "GRANT_MISMATCH": 63,
    "CONTENT_UNKNOWN": 64,
    "CONTENT_CHANGED": 65,
    "CONTENT_UNREADABLE": 69,
    "of a later contract": 9_999,
}
ASKED = (b"first", b"", b"third", b"\0\1\2\xff")
WRONG = b"FIRST"  # as long as the first, other bytes

# --- FetchPacked --------------------------------------------------------------------------------


def entry(index: int, data: bytes = b"", reason: str = "") -> bytes:
    """An encoded FetchPackedResponse.contents."""
    fields = number(1, index) + (chunk(2, data) if data else b"")
    return chunk(1, fields + number(3, REASONS[reason] if reason else 0))


def queue(position: int, waiting: int) -> bytes:
    """An encoded FetchPackedResponse.queue."""
    return chunk(2, number(1, position) + number(2, waiting))


def packed_case(name: str, messages: Iterable[bytes], outcomes: list[str], end: str = "OK") -> Case:
    """`outcomes`: of each content that was told of, in order."""
    return {
        "name": name,
        "messages": [message.hex() for message in messages],
        "outcomes": outcomes,
        "end": end,
    }


def packed() -> Case:
    good = [entry(index, data) for index, data in enumerate(ASKED)]
    came, lie = ["good"] * len(ASKED), "misbehaved"
    return {
        "about": "Messages of a FetchPacked call that asked for `asked` (digest and size of each),"
        " as protobuf in hex; after the last one the stream ends with OK. `outcomes` are "
        "those of the contents in their order: `good` (the bytes are those asked for, and"
        " `contents` has them), a reason of the contract, `unknown` (a reason that v1 "
        "does not know yet: not there), or `wrong` (other bytes; says nothing of the "
        "rest). `end`: OK, or `misbehaved` where the source does not keep the contract: "
        "go on without it from the first content that has no outcome; what came in the "
        "messages before is good.",
        "asked": [{"digest": blake3(data).hexdigest(), "size_bytes": len(data)} for data in ASKED],
        "contents": [data.hex() for data in ASKED],
        "request": (
            b"".join(chunk(1, blake3(data).digest()) for data in ASKED) + number(2, 1)
        ).hex(),
        "cases": [
            packed_case("all in one message", [b"".join(good)], came),
            packed_case("one in each message", good, came),
            packed_case("some in each message", [good[0] + good[1], good[2] + good[3]], came),
            packed_case("an empty message between", [good[0], b"", b"".join(good[1:])], came),
            packed_case(
                "told to wait, at first and in the middle",
                [queue(2, 3), queue(0, 1), good[0], queue(0, 2), b"".join(good[1:])],
                came,
            ),
            packed_case(
                "a field of a later contract",
                [b"".join(good) + chunk(2_047, "hello")],
                came,
            ),
            packed_case(
                "reasons in their places",
                [
                    entry(0, reason="CONTENT_UNKNOWN") + good[1],
                    entry(2, reason="GRANT_MISMATCH") + entry(3, reason="CONTENT_CHANGED"),
                ],
                ["CONTENT_UNKNOWN", "good", "GRANT_MISMATCH", "CONTENT_CHANGED"],
            ),
            packed_case(
                "other reasons",
                [
                    entry(0, reason="TOO_LARGE"),
                    entry(1, reason="CONTENT_UNREADABLE"),
                    entry(2, reason="of a later contract") + good[3],
                ],
                ["TOO_LARGE", "CONTENT_UNREADABLE", "unknown", "good"],
            ),
            packed_case(
                "a reason counts for more than bytes beside it",
                [entry(0, ASKED[0], "CONTENT_CHANGED") + b"".join(good[1:])],
                ["CONTENT_CHANGED", "good", "good", "good"],
            ),
            packed_case(
                "other bytes of the same length",
                [entry(0, WRONG) + b"".join(good[1:])],
                ["wrong", "good", "good", "good"],
            ),
            packed_case(
                "too few bytes, and bytes of an empty content",
                [entry(0, ASKED[0][:-1]) + entry(1, b"x") + b"".join(good[2:])],
                ["wrong", "wrong", "good", "good"],
            ),
            packed_case("nothing at all", [], [], lie),
            packed_case("an end too early", [good[0] + good[1]], came[:2], lie),
            packed_case("a gap", [good[0], good[2]], came[:1], lie),
            packed_case("not from 0 on", [good[1]], [], lie),
            packed_case("one twice", [good[0], good[0]], came[:1], lie),
            packed_case("another order", [good[1] + good[0]], [], lie),
            packed_case("a negative index", [entry(-1, ASKED[0])], [], lie),
        ],
    }


# --- WatchPieces --------------------------------------------------------------------------------


def bitmap(held: Iterable[int], piece_count: int) -> bytes:
    bits = sum(1 << piece for piece in held)
    return bits.to_bytes(-(-piece_count // 8), "little")


def told(bits: bytes = b"", added: Iterable[int] = ()) -> bytes:
    """An encoded WatchPiecesResponse; repeated numbers packed, as proto3 has them."""
    numbers = b"".join(map(varint, added))
    return (chunk(1, bits) if bits else b"") + (chunk(2, numbers) if numbers else b"")


def pieces_case(
    name: str, piece_count: int, messages: list[bytes], held: list[list[int]], end: str = "OK"
) -> Case:
    """`held`: after each message that is lawful, all that is held then."""
    return {
        "name": name,
        "piece_count": piece_count,
        "messages": [message.hex() for message in messages],
        "held": held,
        "end": end,
    }


def pieces() -> Case:
    lie = "misbehaved"
    return {
        "about": "Messages of a WatchPieces call for a content of so many pieces, as protobuf in "
        "hex. `held`: the pieces that the source has said to hold after each of them. "
        "`end`: OK, or `misbehaved` where the message after those told of is a lie: never"
        " ask that source again. `bitmaps` are the first field alone, for who serves. "
        "`shares`: which whole-source pieces the peer of rank r out of n asks for first, "
        "as ranges from first to before last (a convention of our downloader; nobody "
        "checks it).",
        "bitmaps": [
            {
                "held": held,
                "piece_count": count,
                "bitmap": bitmap(held, count).hex(),
            }
            for held, count in (
                ([], 0),
                ([], 1),
                ([0], 1),
                ([7], 8),
                ([8], 9),
                ([0, 9], 10),
                ([1, 3, 5, 7, 9, 11], 17),
                (list(range(17)), 17),
            )
        ],
        "cases": [
            pieces_case(
                "nothing yet, then some",
                10,
                [told(bitmap([], 10)), told(added=[0, 9]), told(added=[5])],
                [[], [0, 9], [0, 5, 9]],
            ),
            pieces_case("all at once", 9, [told(bitmap(range(9), 9))], [list(range(9))]),
            pieces_case("an empty content", 0, [told()], [[]]),
            pieces_case(
                "bitmap and additions in the first message",
                3,
                [told(bitmap([0], 3), [2])],
                [[0, 2]],
            ),
            pieces_case(
                "told what was known, and nothing",
                3,
                [told(bitmap([0], 3)), told(added=[0, 0]), told()],
                [[0], [0], [0]],
            ),
            pieces_case(
                "a field of a later contract",
                3,
                [told(bitmap([0], 3)) + chunk(2_047, "hello")],
                [[0]],
            ),
            pieces_case("a bit past the last piece", 9, [told(b"\x01\x02")], [], lie),
            pieces_case("a byte too few", 9, [told(b"\x01")], [], lie),
            pieces_case("a byte too many", 9, [told(b"\x01\x00\x00")], [], lie),
            pieces_case("no bitmap", 9, [told(added=[1])], [], lie),
            pieces_case("a bitmap of an empty content", 0, [told(b"\x00")], [], lie),
            pieces_case("a second bitmap", 9, [told(bitmap([0], 9))] * 2, [[0]], lie),
            pieces_case(
                "an index past the last",
                9,
                [told(bitmap([0], 9)), told(added=[8]), told(added=[9])],
                [[0], [0, 8]],
                lie,
            ),
            pieces_case("a negative index", 9, [told(bitmap([0], 9), [-1])], [], lie),
        ],
        "shares": [
            share(piece_count, rank, ranks)
            for piece_count, ranks in ((1, 1), (7, 3), (100, 2), (1_000, 3), (65_536, 5))
            for rank in range(ranks)
        ],
    }


def share(piece_count: int, rank: int, ranks: int) -> Case:
    block = min(max(piece_count // (8 * ranks), 1), 64)
    starts = range(rank * block, piece_count, ranks * block)
    return {
        "piece_count": piece_count,
        "rank": rank,
        "ranks": ranks,
        "block": block,
        "ranges": [[at, min(at + block, piece_count)] for at in starts],
    }
