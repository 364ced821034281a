"""Connections for content, a few of them kept open for the next call to the same place."""

import ssl
import threading
import time

from p2p_client.models import Endpoint
from p2p_client.net.identity import PEER_NAME, pem_of
from p2p_client.net.stream.connection import Connection
from p2p_client.net.stream.reader import Reader, Request
from p2p_client.net.stream.wire import Wire, tls_context

KEPT_SECONDS = 10.0
MOST_KEPT = 16
MOST_CONTEXTS = 256

_Key = tuple[Endpoint, bytes | None, int]


class Streams:
    """
    Args:
        window_bytes: how much a source may send ahead of what was consumed; of each stream.
    """

    def __init__(self, window_bytes: int) -> None:
        self._window_bytes = window_bytes
        self._guard = threading.Lock()
        self._kept: list[tuple[float, _Key, Connection]] = []  # oldest first
        self._contexts: dict[bytes, ssl.SSLContext] = {}
        self._is_closed = False

    def open(
        self,
        endpoint: Endpoint,
        certificate_der: bytes | None,
        request: Request,
        idle_timeout_seconds: float,
    ) -> Reader:
        """A call to the peer there, which must show this certificate; None: in plaintext.

        Raises CertificateUnfit.
        """
        window_bytes = min(self._window_bytes, request.most_ahead_bytes or self._window_bytes)
        key = endpoint, certificate_der, window_bytes
        context = self._context_of(certificate_der) if certificate_der is not None else None

        def connect(new: bool) -> Connection:
            if not new and (kept := self._take(key)) is not None:
                return kept
            return Connection(Wire.open(endpoint, PEER_NAME, context), PEER_NAME, window_bytes)

        return Reader(
            request, connect, lambda connection: self._keep(key, connection), idle_timeout_seconds
        )

    def close(self) -> None:
        with self._guard:
            self._is_closed = True
            kept, self._kept = self._kept, []
        for _, _, connection in kept:
            connection.close()

    def _context_of(self, certificate_der: bytes) -> ssl.SSLContext:
        context = self._contexts.get(certificate_der)
        if context is None:
            while len(self._contexts) >= MOST_CONTEXTS:  # in a long life one meets many sources
                del self._contexts[next(iter(self._contexts))]
            context = tls_context(pem_of(certificate_der).decode())
            self._contexts[certificate_der] = context
        return context

    def _take(self, key: _Key) -> Connection | None:
        with self._guard:
            self._drop_old()
            for item in self._kept:
                if item[1] == key:
                    self._kept.remove(item)
                    return item[2]
        return None

    def _keep(self, key: _Key, connection: Connection) -> None:
        with self._guard:
            if connection.is_reusable and not self._is_closed:
                connection.was_kept = True
                self._kept.append((time.monotonic(), key, connection))
                self._drop_old()
                return
        connection.close()

    def _drop_old(self) -> None:
        now = time.monotonic()
        while self._kept and (len(self._kept) > MOST_KEPT or now - self._kept[0][0] > KEPT_SECONDS):
            self._kept.pop(0)[2].close()
