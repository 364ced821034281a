"""The socket of a connection to a source, and how it is read: into room that is given, to its end.

Blocks; for one thread. Only `abort` may be called from another one.
"""

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Callable
from functools import partial

from p2p_client.models import Endpoint

CONNECT_SECONDS = 5.0
TICK_SECONDS = 0.1
"""How often a read that waits looks at the time, and gives out what has come of a block."""
_SEND_SECONDS = 5.0
_TIMEVAL = struct.Struct("ll")


class ConnectionGone(Exception):
    """The connection could not be made, or is no more. The text is for people."""


def tls_context(certificate_pem: str) -> ssl.SSLContext:
    """Believes this one certificate, which its own key has signed, and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=certificate_pem)
    context.set_alpn_protocols(["h2"])
    return context


class Wire:
    """A connected socket, with TLS or without. Close it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.scheme = "http"
        self._receive: Callable[[memoryview], int]  # all of the room, where one call can do that
        self._receive_some: Callable[[memoryview], int]
        if isinstance(sock, ssl.SSLSocket):
            sock.settimeout(TICK_SECONDS)
            read: Callable[[int, memoryview], int] = sock.read  # type: ignore[assignment]  # a count
            self.scheme, self._receive = "https", partial(_decrypt_into, read)
            self._receive_some = self._receive
        else:
            _let_the_system_wait(sock)
            self._receive, self._receive_some = partial(_fill, sock.recv_into), sock.recv_into

    @classmethod
    def open(cls, endpoint: Endpoint, server_name: str, context: ssl.SSLContext | None) -> "Wire":
        """Raises ConnectionGone."""
        sock: socket.socket | None = None
        try:
            sock = socket.create_connection((endpoint.host, endpoint.port), CONNECT_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                sock = context.wrap_socket(sock, server_hostname=server_name)
                if sock.selected_alpn_protocol() != "h2":
                    raise ConnectionGone("does not speak HTTP/2")
            return cls(sock)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, OSError):
                raise ConnectionGone(_why(error)) from error
            raise

    def close(self) -> None:
        self._sock.close()

    def abort(self) -> None:
        """Makes a read that is under way in another thread end."""
        # Not SSLSocket's own: that takes TLS away from under the read.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def send(self, data: bytes) -> None:
        """Raises ConnectionGone."""
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise ConnectionGone(_why(error)) from error

    def read_some(self, room: memoryview) -> int:
        """Reads what is there, into the room; 0: nothing came for a tick. Raises ConnectionGone."""
        try:
            if count := self._receive_some(room):
                return count
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return 0
        except OSError as error:
            raise ConnectionGone(_why(error)) from error
        raise ConnectionGone("closes the connection")

    def read_into(self, room: memoryview) -> int:
        """Fills the room, or as much of it as comes within a tick or so. Raises ConnectionGone."""
        # Under TLS a read brings 16 KiB at most: this runs tens of thousands of times a second.
        receive, size_bytes, filled = self._receive, len(room), 0
        deadline = time.monotonic() + TICK_SECONDS
        try:
            while filled < size_bytes:
                count = receive(room[filled:])
                if not count:
                    raise ConnectionGone("closes the connection")
                filled += count
                if time.monotonic() >= deadline:
                    break
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError as error:
            raise ConnectionGone(_why(error)) from error
        return filled


def _let_the_system_wait(sock: socket.socket) -> None:
    """Reads wait in one call until the room is full or a tick is over, not in a loop of ours that
    must have the interpreter to itself for every 64 KiB."""
    sock.settimeout(None)
    waits = ((socket.SO_RCVTIMEO, TICK_SECONDS), (socket.SO_SNDTIMEO, _SEND_SECONDS))
    for option, seconds in waits:
        longest = _TIMEVAL.pack(int(seconds), int(seconds % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, option, longest)


def _fill(receive: Callable[[memoryview, int, int], int], room: memoryview) -> int:
    return receive(room, 0, socket.MSG_WAITALL)


def _decrypt_into(read: Callable[[int, memoryview], int], room: memoryview) -> int:
    """As SSLSocket.recv_into, less one call of Python for each 16 KiB."""
    return read(len(room), room)


def _why(error: OSError) -> str:
    match error:
        case ConnectionRefusedError():
            return "refuses the connection"
        case TimeoutError() | BlockingIOError():
            return "does not answer in time"
        case ssl.SSLCertVerificationError():
            return "shows another certificate than expected"
        case ssl.SSLError():
            return "does not speak TLS"
    return "closes the connection"
