"""The digest of the whole, made while its pieces come: in order, from memory where that can be.

Pieces come in any order, and a hash wants them in one. What comes a little too early is kept until
its turn, up to a bound; what comes much too early is read back from disk later. Thread-safe:
whoever brings the piece that the hash waits for hashes on, the others just leave theirs.
"""

import threading
from collections.abc import Iterable, Sequence

from blake3 import blake3

from p2p_client.models import Digest

MOST_KEPT_BYTES = 16 << 20


class Whole:
    def __init__(self) -> None:
        self._guard = threading.Condition()
        self._hasher = blake3()
        self._hashed_bytes = 0
        self._promised: dict[int, int] = {}  # offset -> length of what will be offered
        self._promised_bytes = 0
        self._kept: dict[int, Sequence[memoryview]] = {}
        self._is_busy = False

    @property
    def hashed_bytes(self) -> int:
        return self._hashed_bytes

    def digest(self) -> Digest:
        """Of what was hashed so far; nobody hashes meanwhile."""
        return Digest(self._hasher.hexdigest())

    def wants(self, offset: int, length: int) -> bool:
        """Whether the bytes there may be offered when they are known to be right; then they must
        be, or `withdraw`n. False: they are read back when their turn comes."""
        with self._guard:
            if self._promised_bytes + length > MOST_KEPT_BYTES and offset != self._hashed_bytes:
                return False
            self._promised[offset] = length
            self._promised_bytes += length
            return True

    def withdraw(self, offset: int) -> None:
        """The bytes that were to be offered are not right, or are not on disk."""
        with self._guard:
            self._promised_bytes -= self._promised.pop(offset)

    def offer(self, offset: int, views: Sequence[memoryview]) -> None:
        """Bytes that `wants` was True for, verified and on disk. Hashes them now, or leaves them to
        whoever hashes."""
        with self._guard:
            self._kept[offset] = views
            if self._is_busy:
                return
            self._is_busy = True
        self._hash_kept()

    def is_waiting_for_disk(self) -> bool:
        """Nobody hashes, and nobody will bring what comes next."""
        with self._guard:
            return not self._is_busy and self._hashed_bytes not in self._promised

    def read_back(self, offset: int, views: Iterable[memoryview]) -> None:
        """Hashes what the disk gives, where that is what the hash waits for."""
        with self._guard:
            while self._is_busy:
                self._guard.wait()
            if offset != self._hashed_bytes:
                return
            self._is_busy = True
        try:
            for view in views:
                self._hasher.update(view)
                self._hashed_bytes += len(view)
        finally:
            self._drop_passed()
            self._hash_kept()

    def _drop_passed(self) -> None:
        """What was kept, but read back with what lies before it: its turn is over."""
        with self._guard:
            for offset in [at for at in self._kept if at < self._hashed_bytes]:
                del self._kept[offset]
                self._promised_bytes -= self._promised.pop(offset)

    def _hash_kept(self) -> None:
        while True:
            with self._guard:
                at = self._hashed_bytes
                views = self._kept.pop(at, None)
                if views is None:
                    self._is_busy = False
                    self._guard.notify_all()
                    return
            for view in views:
                self._hasher.update(view)
            with self._guard:
                length = self._promised.pop(at)
                self._promised_bytes -= length
                self._hashed_bytes = at + length
