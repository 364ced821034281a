"""What waits for each host: its calls that are not over, and the bytes of their answers. Pure.

A caller who reads nothing (a window of zero) keeps the answer to each of its calls in our memory
for as long as it likes. So what waits for one host is bounded; others are answered all the same.
"""

from typing import Final

CALL_BYTES: Final = 8 << 10  # about what gRPC keeps for a call
MOST_BYTES: Final = 128 << 20
"""Of one host: a network of 8,192 peers behind one address may call twice each at once."""


class Unread:
    """
    Args:
        most_bytes: of one host; None: any number, for all callers have the address of a proxy.
    """

    def __init__(self, most_bytes: int | None = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._held: dict[str, int] = {}

    def held_bytes(self, host: str) -> int:
        return self._held.get(host, 0)

    def came(self, host: str) -> bool:
        """A call; True: `left` is due when it is over. False: too much waits already."""
        held = self._held.get(host, 0) + CALL_BYTES
        if self._most_bytes is not None and held > self._most_bytes:
            return False
        self._held[host] = held
        return True

    def answered(self, host: str, size_bytes: int) -> None:
        """An answer that waits until the call is over."""
        self._held[host] += size_bytes

    def left(self, host: str, size_bytes: int, _: object = None) -> None:
        """No longer held: a call, with its answer where there was one."""
        held = self._held[host] - size_bytes
        if held:
            self._held[host] = held
        else:
            del self._held[host]
