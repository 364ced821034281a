"""However a stream is cut into chunks, messages, frames and reads: the content comes out unaltered.

The specification is concatenation; the demultiplexer reads straight into place.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.downloads.downloads import some_bytes

from p2p.v1.peer_pb2 import FetchFileResponse, QueueStatus
from p2p_client.net.stream.frames import MOST_FRAME_BYTES, Frame, Frames
from p2p_client.net.stream.messages import (
    MOST_MESSAGE_BYTES,
    Filled,
    Message,
    Messages,
    MessageTooLarge,
    StreamBroken,
)

STREAM = 5
OTHER_STREAM = 7
DATA, HEADERS, PING = 0, 1, 6
UNKNOWN_FIELD = b"\x7a\x03abc"  # field 15, three bytes


def frame(kind: int, payload: bytes, flags: int = 0, stream: int = STREAM) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


def padded(payload: bytes, padding: int) -> bytes:
    return frame(DATA, bytes((padding,)) + payload + b"\xaa" * padding, flags=0x8)


def message(encoded: bytes) -> bytes:
    return b"\0" + len(encoded).to_bytes(4, "big") + encoded


def chunk(data: bytes) -> bytes:
    return message(FetchFileResponse(data=data).SerializeToString())


class Receiver:
    """Reads what comes as the real reader does."""

    def __init__(self, block_bytes: int) -> None:
        self.content = bytearray()
        self.frames_seen: list[bytes] = []
        self.queues: list[QueueStatus] = []
        self.messages = Messages(lambda: memoryview(bytearray(block_bytes)))
        self.frames = Frames(STREAM, self.messages)

    def receive(self, stream: bytes, cuts: Iterator[int]) -> None:
        view = memoryview(stream)
        while view:
            room = self.frames.room()
            count = min(len(room), len(view), next(cuts))
            room[:count] = view[:count]
            view = view[count:]
            self._heed(self.frames.took(count))

    def rest(self) -> bytes:
        if (some := self.messages.partly_filled()) is not None:
            self.content += some
        return bytes(self.content)

    def _heed(self, events: Sequence[Frame | Filled | Message]) -> None:
        for event in events:
            match event:
                case Filled(view):
                    self.content += view
                case Message(encoded):
                    response = FetchFileResponse.FromString(encoded)
                    if response.HasField("queue"):
                        self.queues.append(response.queue)
                    for filled in self.messages.append(response.data):
                        self.content += filled.view
                case Frame(encoded):
                    self.frames_seen.append(encoded)


def reads(seed: int, most: int) -> Iterator[int]:
    rng = random.Random(seed)
    while True:
        yield rng.randint(1, most)


def framed(stream: bytes, rng: random.Random) -> tuple[bytes, list[bytes]]:
    """The bytes in DATA frames of any sizes, with other frames between; and these others."""
    out, others, at = bytearray(), [], 0
    while at < len(stream):
        length = rng.choice((0, 1, 3, 9, rng.randint(1, 300), 5_000))
        payload = stream[at : at + length]
        at += len(payload)
        out += padded(payload, rng.randint(0, 255)) if rng.random() < 0.3 else frame(DATA, payload)
        if rng.random() < 0.3:
            others.append(frame(rng.choice((HEADERS, PING)), rng.randbytes(rng.randint(0, 40))))
            out += others[-1]
        if rng.random() < 0.2:
            out += frame(DATA, rng.randbytes(rng.randint(0, 400)), stream=OTHER_STREAM)
    return bytes(out), others


@settings(deadline=None)
@given(
    sizes=st.lists(st.sampled_from((0, 1, 2, 5, 126, 127, 128, 130, 4_000)), max_size=12),
    block_bytes=st.sampled_from((1, 7, 64, 1_000, 1 << 20)),
    most_read=st.sampled_from((1, 5, 100, 1 << 20)),
    seed=st.integers(0, 1 << 32),
)
def test_the_content_comes_out_unaltered(
    sizes: list[int], block_bytes: int, most_read: int, seed: int
) -> None:
    rng = random.Random(seed)
    parts = [rng.randbytes(size) for size in sizes]
    messages = bytearray()
    for part in parts:
        odd = rng.random() < 0.2
        encoded = FetchFileResponse(data=part).SerializeToString()
        messages += message(encoded + UNKNOWN_FIELD) if odd else message(encoded)
    stream, others = framed(bytes(messages), rng)
    receiver = Receiver(block_bytes)

    receiver.receive(stream, reads(seed, most_read))

    assert receiver.rest() == b"".join(parts)
    assert receiver.messages.content_bytes == sum(sizes)
    assert receiver.messages.is_between_messages
    assert receiver.frames_seen == others


def test_every_split_of_a_short_stream_comes_out_unaltered() -> None:
    data = some_bytes(130)
    stream = frame(DATA, chunk(data)[:9]) + frame(PING, b"12345678") + frame(DATA, chunk(data)[9:])
    for cut in range(1, len(stream)):
        receiver = Receiver(64)

        receiver.receive(stream[:cut], reads(0, 1_000))
        receiver.receive(stream[cut:], reads(0, 1_000))

        assert receiver.rest() == data


def test_blocks_fill_up_whatever_the_chunks_are() -> None:
    sizes: list[int] = []
    messages = Messages(lambda: memoryview(bytearray(1_000)))
    frames = Frames(STREAM, messages)
    stream = memoryview(b"".join(frame(DATA, chunk(bytes(300))) for _ in range(11)))
    while stream:
        room = frames.room()
        count = min(len(room), len(stream))
        room[:count] = stream[:count]
        stream = stream[count:]
        sizes += [len(event.view) for event in frames.took(count) if isinstance(event, Filled)]

    assert sizes == [1_000, 1_000, 1_000]
    assert len(messages.partly_filled() or b"") == 300


def test_a_block_that_fills_slowly_comes_out_in_parts_and_only_once() -> None:
    receiver = Receiver(1_000)

    receiver.receive(frame(DATA, chunk(b"a" * 600)), reads(0, 1_000))
    first = receiver.messages.partly_filled()
    receiver.receive(frame(DATA, chunk(b"b" * 600)), reads(0, 1_000))

    assert bytes(first or b"") == b"a" * 600
    assert receiver.content == b"b" * 400
    assert bytes(receiver.messages.partly_filled() or b"") == b"b" * 200
    assert receiver.messages.partly_filled() is None


def test_a_place_in_the_queue_is_no_content() -> None:
    receiver = Receiver(64)
    waiting = FetchFileResponse(queue=QueueStatus(position=3, waiting_count=9))

    receiver.receive(frame(DATA, message(waiting.SerializeToString())), reads(0, 99))

    assert [queue.position for queue in receiver.queues] == [3]
    assert receiver.rest() == b""


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x0a\x05abc",  # longer than the message
        b"\x0a\x02abc",  # shorter, with rubbish behind
        b"\x0a\xff\xff\xff\xff\xff\xff",  # a length that does not end
        b"\x0a",
    ],
)
def test_what_is_no_chunk_is_left_to_protobuf(encoded: bytes) -> None:
    messages = Messages(lambda: memoryview(bytearray(9)))
    found: list[object] = []
    stream = memoryview(message(encoded))
    while stream:
        count = min(len(messages.room()), len(stream))
        messages.room()[:count] = stream[:count]
        stream = stream[count:]
        found += messages.took(count)

    assert found == [Message(encoded)]
    assert messages.content_bytes == 0


def test_an_empty_message_is_nothing() -> None:
    receiver = Receiver(9)

    receiver.receive(frame(DATA, message(b"") + chunk(b"x")), reads(0, 99))

    assert receiver.rest() == b"x"


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (frame(DATA, b"\1" + bytes(4)), StreamBroken),
        (frame(DATA, b"\0" + (MOST_MESSAGE_BYTES + 1).to_bytes(4, "big")), MessageTooLarge),
        (frame(DATA, b"\0\xff\xff\xff\xff"), MessageTooLarge),
        ((MOST_FRAME_BYTES + 1).to_bytes(3, "big") + bytes((HEADERS, 0, 0, 0, 0, 5)), StreamBroken),
        (frame(DATA, b"\x05abc", flags=0x8), StreamBroken),
        (frame(DATA, b"", flags=0x8), StreamBroken),
    ],
    ids=["compressed", "too large", "absurd", "huge headers", "only padding", "no padding length"],
)
def test_what_breaks_the_rules_is_refused_before_anything_is_allocated(
    stream: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        Receiver(64).receive(stream, reads(0, 1_000))


def test_the_last_frame_of_the_stream_is_seen() -> None:
    receiver = Receiver(64)

    receiver.receive(frame(DATA, chunk(b"x"), stream=OTHER_STREAM, flags=1), reads(0, 99))
    assert not receiver.frames.has_ended
    receiver.receive(frame(DATA, chunk(b"x"), flags=1), reads(0, 99))

    assert receiver.frames.has_ended


@settings(deadline=None)
@given(junk=st.binary(max_size=400), seed=st.integers(0, 1 << 16))
def test_junk_is_refused_or_read_but_never_breaks_us(junk: bytes, seed: int) -> None:
    # Protobuf is the receiver's, and may refuse a message; nothing else may be raised.
    with suppress(StreamBroken, DecodeError):
        Receiver(64).receive(junk, reads(seed, 50))
