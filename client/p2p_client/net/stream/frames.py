"""HTTP/2 frames of a connection, taken apart as they come (RFC 9113, section 4). Pure.

DATA frames of one stream are gone through here, their content read straight into place by
`messages.py`; those of other streams are read over. Every other frame comes out whole, for an
HTTP/2 library to judge. `room()` is where the shell reads to, `took()` tells it how much came.
"""

from collections.abc import Sequence
from enum import Enum, auto

from p2p_client.net.stream.messages import Filled, Message, Messages, StreamBroken
from p2p_client.records import dataclass

MOST_FRAME_BYTES = 64 << 10
"""Of frames that are not DATA: headers, settings and the like."""

_HEADER_BYTES = 9
_SKIPPED_AT_ONCE = 64 << 10
_TYPE_DATA = 0
_END_STREAM = 0x1
_PADDED = 0x8


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame that is not DATA."""

    encoded: bytes


Event = Frame | Filled | Message


class _State(Enum):
    HEADER = auto()
    CONTROL = auto()
    PADDING_LENGTH = auto()
    DATA = auto()
    SKIP = auto()


class Frames:
    """
    Args:
        stream_id: whose DATA counts.
        messages: where it goes.
    """

    def __init__(self, stream_id: int, messages: Messages) -> None:
        self.messages = messages
        self.data_bytes = 0  # of all DATA frames so far: what flow control counts
        self.has_ended = False  # a DATA frame was the last of the stream
        self._stream_id = stream_id
        self._left = 0  # of the frame's DATA, or to be skipped
        self._padding = 0
        self._header = b""
        self._scratch = bytearray()
        self._room = memoryview(self._scratch)
        self._want(_State.HEADER, _HEADER_BYTES)

    def room(self) -> memoryview:
        """Where the next bytes of the connection go; never empty."""
        if self._state is _State.DATA:
            return self.messages.room()[: self._left]
        return self._room

    def took(self, count: int) -> Sequence[Event]:
        """The first `count` bytes of `room()` came. Raises StreamBroken."""
        if self._state is _State.DATA:
            self._left -= count
            events = self.messages.took(count)
            if not self._left:
                self._skip(self._padding)
            return events
        self._room = self._room[count:]
        return [] if self._room else self._end_room()

    def _want(self, state: _State, size_bytes: int) -> None:
        self._state, self._scratch = state, bytearray(size_bytes)
        self._room = memoryview(self._scratch)

    def _end_room(self) -> list[Event]:
        match self._state:
            case _State.HEADER:
                return self._end_header()
            case _State.CONTROL:
                frame = Frame(self._header + bytes(self._scratch))
                self._want(_State.HEADER, _HEADER_BYTES)
                return [frame]
            case _State.PADDING_LENGTH:
                self._padding = self._scratch[0]
                self._begin_data(self._left - 1 - self._padding)
            case _State.SKIP | _State.DATA:
                self._skip(self._left)
        return []

    def _end_header(self) -> list[Event]:
        header = self._header = bytes(self._scratch)
        length, kind, flags = int.from_bytes(header[:3], "big"), header[3], header[4]
        if kind != _TYPE_DATA:
            if length > MOST_FRAME_BYTES:
                raise StreamBroken(f"a frame of type {kind} has {length:,} bytes")
            if length:
                self._want(_State.CONTROL, length)
                return []
            self._want(_State.HEADER, _HEADER_BYTES)
            return [Frame(header)]
        self.data_bytes += length
        if int.from_bytes(header[5:], "big") & 0x7FFFFFFF != self._stream_id:
            self._skip(length)
            return []
        self.has_ended = self.has_ended or bool(flags & _END_STREAM)
        self._left, self._padding = length, 0
        if flags & _PADDED and not length:
            raise StreamBroken("a padded frame has no room for its padding")
        if flags & _PADDED:
            self._want(_State.PADDING_LENGTH, 1)
        else:
            self._begin_data(length)
        return []

    def _begin_data(self, length: int) -> None:
        if length < 0:
            raise StreamBroken("a frame has more padding than it is long")
        self._left = length
        if length:
            self._state = _State.DATA
        else:
            self._skip(self._padding)

    def _skip(self, count: int) -> None:
        """Reads over what does not count; then the next frame begins."""
        some = min(count, _SKIPPED_AT_ONCE)
        self._left, self._padding = count - some, 0
        if some:
            self._want(_State.SKIP, some)
        else:
            self._want(_State.HEADER, _HEADER_BYTES)
