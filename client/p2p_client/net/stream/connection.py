"""What is said on one HTTP/2 connection to a source, for one call at a time.

Blocks; for one thread. DATA does not pass through the HTTP/2 library, so flow control credit is
given here: as much as was consumed, never more than one window ahead, which is what bounds the
memory and the bytes sent in vain.
"""

import contextlib
import struct
from base64 import b64decode
from collections.abc import Iterable, Iterator

import h2.connection
import h2.events
import h2.exceptions
from h2.config import H2Configuration
from h2.settings import SettingCodes, Settings

from p2p_client.net.stream.call_status import CallStatus
from p2p_client.net.stream.frames import Event, Frame, Frames
from p2p_client.net.stream.messages import Filled, Message, Messages, StreamBroken
from p2p_client.net.stream.wire import ConnectionGone, Wire

_LARGEST_FRAME_BYTES = (16 << 20) - 1
_MOST_HEADER_BYTES = 32 << 10
_DEFAULT_WINDOW_BYTES = 65_535
_WINDOW_UPDATE = struct.Struct(">BHBBII")  # length (3 bytes), type, flags, stream, credit
_WINDOW_UPDATE_TYPE = 0x8
_GOAWAY_TYPE = 0x7
_FRAME_HEADER_BYTES = 9
_FEW_BYTES = 64
"""Read at once where less is wanted: what stands between the content of two messages, which would
take six reads; the beginning of the content that comes with it is copied to its place."""


class Connection:
    """An open connection. Close it.

    Args:
        window_bytes: how much the source may send ahead of what was consumed.
    """

    def __init__(self, wire: Wire, authority: str, window_bytes: int) -> None:
        self.is_reusable = True
        self.was_kept = False  # since an earlier call
        self.wire = wire
        self._few = memoryview(bytearray(_FEW_BYTES))
        self._unread = self._few[:0]
        self._authority = authority
        self.window_bytes = window_bytes
        config = H2Configuration(client_side=True, header_encoding=None)
        self._h2 = h2.connection.H2Connection(config)
        # Not `update`: that would wait for the source's consent before telling it.
        self._h2.local_settings = Settings(
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: window_bytes,
                SettingCodes.MAX_FRAME_SIZE: _LARGEST_FRAME_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: _MOST_HEADER_BYTES,
            }
        )
        self._h2.initiate_connection()
        if window_bytes > _DEFAULT_WINDOW_BYTES:
            self._h2.increment_flow_control_window(window_bytes - _DEFAULT_WINDOW_BYTES)

    def close(self) -> None:
        self.wire.close()

    def begin(
        self, path: str, metadata: Iterable[tuple[str, str]], request: bytes, messages: Messages
    ) -> "Call":
        """Sends the request of a call. Raises ConnectionGone."""
        with _as_gone():
            stream_id = self._h2.get_next_available_stream_id()
            headers = [
                (":method", "POST"),
                (":scheme", self.wire.scheme),
                (":path", path),
                (":authority", self._authority),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                *metadata,
            ]
            self._h2.send_headers(stream_id, headers)
            prefix = b"\0" + len(request).to_bytes(4, "big")
            self._h2.send_data(stream_id, prefix + request, end_stream=True)
            self.flush()
        return Call(self, stream_id, messages)

    def flush(self) -> None:
        if waiting := self._h2.data_to_send():
            self.wire.send(waiting)

    def read_few(self) -> memoryview:
        """What is there of the next few bytes, perhaps nothing; to be used before the next call.

        Raises ConnectionGone.
        """
        few, self._unread = self._unread, self._few[:0]
        return few or self._few[: self.wire.read_some(self._few)]

    def unread(self, few: memoryview) -> None:
        """Gives back the rest of what `read_few` gave."""
        self._unread = few

    def judge(self, frame: Frame) -> list[h2.events.Event]:
        """What a frame means. Raises ConnectionGone, StreamBroken."""
        try:
            events: list[h2.events.Event] = self._h2.receive_data(frame.encoded)
        except (h2.exceptions.H2Error, ValueError, IndexError) as error:
            self.is_reusable = False
            raise StreamBroken(f"it does not speak HTTP/2 as it should: {error}") from error
        with _as_gone():
            self.flush()
        return events

    def credit(self, data_bytes: int, *stream_ids: int) -> None:
        """Lets the source send as much more; stream 0 is the connection. Raises ConnectionGone."""
        updates = b"".join(
            _WINDOW_UPDATE.pack(0, 4, _WINDOW_UPDATE_TYPE, 0, number, data_bytes)
            for number in stream_ids
        )
        self.wire.send(updates)


class Call:
    """One call that streams chunks to us."""

    def __init__(self, connection: Connection, stream_id: int, messages: Messages) -> None:
        self.status: CallStatus | None = None  # once the call has ended
        self._connection = connection
        self._stream_id = stream_id
        self._messages = messages
        self._frames = Frames(stream_id, messages)
        self._credited_bytes = 0
        self._credit_step = connection.window_bytes // 4

    def read(self) -> list[Filled | Message]:
        """Reads once, for at most a tick. Raises ConnectionGone, StreamBroken."""
        found: list[Filled | Message] = []
        for event in self._events():
            if isinstance(event, Frame):
                self._heed(event)
            else:
                found.append(event)
        due = self._frames.data_bytes - self._credited_bytes
        if self.status is not None:
            # The next call over this connection begins with a whole window.
            if due and self._connection.is_reusable:
                self._connection.credit(due, 0)
        elif due >= self._credit_step:
            self._connection.credit(due, 0, self._stream_id)
            self._credited_bytes = self._frames.data_bytes
        if self._frames.has_ended and self.status is None:
            raise StreamBroken("it ended the stream without a status")
        return found

    def _events(self) -> Iterator[Event]:
        room = self._frames.room()
        if len(room) > _FEW_BYTES:
            yield from self._frames.took(self._connection.wire.read_into(room))
            return
        few = self._connection.read_few()
        while few and self.status is None:
            room = self._frames.room()[: len(few)]
            room[:] = few[: len(room)]
            few = few[len(room) :]
            yield from self._frames.took(len(room))
        self._connection.unread(few)  # behind the end it is the connection's

    def _heed(self, frame: Frame) -> None:
        if frame.encoded[3] == _GOAWAY_TYPE:
            self._heed_goaway(frame.encoded[_FRAME_HEADER_BYTES:])
            return
        for event in self._connection.judge(frame):
            match event:
                case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                    self._note_headers(dict(event.headers or ()))
                case h2.events.StreamEnded():
                    if self.status is None:
                        raise StreamBroken("it ended the stream without a status")
                case h2.events.StreamReset():
                    self._connection.is_reusable = False
                    raise ConnectionGone("breaks the stream off")

    def _heed_goaway(self, payload: bytes) -> None:
        """Not for the library: to it nothing may follow, but streams that run may end well."""
        self._connection.is_reusable = False
        last_stream_id = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        if int.from_bytes(payload[4:8], "big") or last_stream_id < self._stream_id:
            raise ConnectionGone("closes the connection")

    def _note_headers(self, headers: dict[bytes, bytes]) -> None:
        http_status = headers.get(b":status", b"200")
        if http_status != b"200":
            raise StreamBroken(f"it answers with HTTP status {http_status[:3]!r}")
        if (code := headers.get(b"grpc-status")) is None:
            return
        if not self._messages.is_between_messages:
            raise StreamBroken("it ended the stream within a message")
        self.status = CallStatus(
            int(code) if code.isdigit() and len(code) < 4 else 2,
            _percent_decoded(headers.get(b"grpc-message", b"")),
            _base64_decoded(headers.get(b"grpc-status-details-bin", b"")),
        )


def _percent_decoded(encoded: bytes) -> str:
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(encoded).decode(errors="replace")


def _base64_decoded(encoded: bytes) -> bytes:
    try:
        return b64decode(encoded + b"=" * (-len(encoded) % 4))
    except ValueError:
        return b""


@contextlib.contextmanager
def _as_gone() -> Iterator[None]:
    try:
        yield
    except h2.exceptions.H2Error as error:
        raise ConnectionGone("closes the connection") from error
