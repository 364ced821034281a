"""How far hashing is: counted in many threads, read in one."""

import threading

from p2p_client.library.events import HashProgress


class Meter:
    """Counts from the moment that there was nothing to hash until there is nothing again."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._done_files = self._total_files = 0
        self._done_bytes = self._total_bytes = 0

    def expect(self, size_bytes: int) -> None:
        """One more file is to be hashed."""
        with self._guard:
            self._total_files += 1
            self._total_bytes += size_bytes

    def add_bytes(self, count: int) -> None:
        with self._guard:
            self._done_bytes += count

    def finish_file(self) -> None:
        with self._guard:
            self._done_files += 1

    def reset(self) -> HashProgress:
        """Starts anew; answers the end of what was counted: all done."""
        with self._guard:
            files, size_bytes = self._done_files, max(self._done_bytes, self._total_bytes)
            self._done_files = self._total_files = 0
            self._done_bytes = self._total_bytes = 0
        return HashProgress(files, files, size_bytes, size_bytes)

    def read(self) -> HashProgress:
        """What is done never exceeds the total: files may grow after they were counted."""
        with self._guard:
            return HashProgress(
                min(self._done_files, self._total_files),
                self._total_files,
                min(self._done_bytes, self._total_bytes),
                self._total_bytes,
            )
