"""gRPC messages of a chunk stream, put together where they belong. Pure.

A chunk in its usual form, `data` alone in one field, goes straight to its block: `room()` is where
the next bytes are wanted. A message in any other form comes out whole, for protobuf to read.

Promises:
    Content comes out in order and without gaps; a block fills up before the next one is begun.
    Nothing is allocated in proportion to a number from the network beyond `MOST_MESSAGE_BYTES`.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto

from p2p_client.records import dataclass

MOST_MESSAGE_BYTES = (1 << 20) + (64 << 10)
"""A chunk holds at most 1 MiB of data; the rest is room for fields to come."""

_PREFIX_BYTES = 5  # a flag, and the length of what follows
_HEAD_BYTES = 6  # tag and length of a field of up to 2**35 bytes
_DATA_TAG = 0x0A  # field 1, length-delimited


class StreamBroken(Exception):
    """What came is not HTTP/2, or not a stream of gRPC messages."""


class MessageTooLarge(StreamBroken):
    """A message is larger than the contract allows."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A block has no room left; `view` is what of it did not come out before."""

    view: memoryview


@dataclass(frozen=True, slots=True)
class Message:
    """A message in another form than the usual one of a chunk; `Messages.append` its data."""

    encoded: bytes


class _State(Enum):
    PREFIX = auto()
    HEAD = auto()
    BODY = auto()
    OTHER = auto()


class Messages:
    """
    Args:
        new_block: gives writable memory, at least one byte, for the next bytes of content.
    """

    def __init__(self, new_block: Callable[[], memoryview]) -> None:
        self.content_bytes = 0
        self._new_block = new_block
        self._events: list[Filled | Message] = []
        self._block = memoryview(b"")
        self._filled = self._given = 0
        self._message_bytes = self._body_left = 0
        self._scratch = bytearray()
        self._room = memoryview(self._scratch)
        self._begin_message()

    def room(self) -> memoryview:
        """Where the next bytes of the stream go; never empty."""
        return self._room

    def took(self, count: int) -> Sequence[Filled | Message]:
        """The first `count` bytes of `room()` came. Raises StreamBroken."""
        if self._state is _State.BODY:
            self._filled += count
            self.content_bytes += count
            self._body_left -= count
        self._room = self._room[count:]
        if self._room:
            return ()
        self._end_room()
        events, self._events = self._events, []
        return events

    def partly_filled(self) -> memoryview | None:
        """What came into the block since it last came out; None: nothing."""
        if self._given == self._filled:
            return None
        view = self._block[self._given : self._filled]
        self._given = self._filled
        return view

    def append(self, data: bytes | memoryview) -> list[Filled]:
        """Content that came in a `Message`; before anything else is taken."""
        before = len(self._events)
        self._put(memoryview(data))
        filled = [event for event in self._events[before:] if isinstance(event, Filled)]
        del self._events[before:]
        return filled

    @property
    def is_between_messages(self) -> bool:
        return self._state is _State.PREFIX and len(self._room) == _PREFIX_BYTES

    def _end_room(self) -> None:
        match self._state:
            case _State.PREFIX:
                self._end_prefix()
            case _State.HEAD:
                self._end_head()
            case _State.BODY:
                self._give_full_block()
                self._want_body()
            case _State.OTHER:
                self._events.append(Message(bytes(self._scratch)))
                self._begin_message()

    def _begin_message(self) -> None:
        self._want_scratch(_State.PREFIX, bytearray(_PREFIX_BYTES), 0)

    def _want_scratch(self, state: _State, scratch: bytearray, held: int) -> None:
        self._state, self._scratch = state, scratch
        self._room = memoryview(scratch)[held:]

    def _end_prefix(self) -> None:
        is_compressed, length = self._scratch[0], int.from_bytes(self._scratch[1:], "big")
        if is_compressed:
            raise StreamBroken("a message is compressed, which was not asked for")
        if length > MOST_MESSAGE_BYTES:
            raise MessageTooLarge(f"a message has {length:,} bytes")
        self._message_bytes = length
        if length:
            self._want_scratch(_State.HEAD, bytearray(min(length, _HEAD_BYTES)), 0)
        else:
            self._begin_message()

    def _end_head(self) -> None:
        head = self._scratch
        data_at, data_bytes = _field_after(head)
        if head[0] == _DATA_TAG and data_at + data_bytes == self._message_bytes:
            begun = memoryview(head)[data_at:]
            self._state, self._body_left = _State.BODY, data_bytes - len(begun)
            self._put(begun)
            self._want_body()
        elif len(head) == self._message_bytes:
            self._events.append(Message(bytes(head)))
            self._begin_message()
        else:
            rest = bytes(self._message_bytes - len(head))
            self._want_scratch(_State.OTHER, head + rest, len(head))

    def _want_body(self) -> None:
        if not self._body_left:
            self._begin_message()
            return
        if self._filled == len(self._block):
            self._begin_block()
        self._room = self._block[self._filled : self._filled + self._body_left]

    def _put(self, view: memoryview) -> None:
        self.content_bytes += len(view)
        while view:
            if self._filled == len(self._block):
                self._begin_block()
            some = view[: len(self._block) - self._filled]
            self._block[self._filled : self._filled + len(some)] = some
            self._filled += len(some)
            view = view[len(some) :]
            self._give_full_block()

    def _begin_block(self) -> None:
        self._block = self._new_block()
        self._filled = self._given = 0

    def _give_full_block(self) -> None:
        if self._filled == len(self._block) and (view := self.partly_filled()) is not None:
            self._events.append(Filled(view))


def _field_after(head: bytearray) -> tuple[int, int]:
    """Where the field's content begins, and its length; one that is no good fits nothing."""
    value = shift = 0
    for at in range(1, len(head)):
        value |= (head[at] & 0x7F) << shift
        shift += 7
        if head[at] < 0x80:
            return at + 1, value
    return len(head), MOST_MESSAGE_BYTES + 1
