"""How many calls each host has that are not over. Pure.

gRPC lets a call wait without end for a caller who takes nothing, not even the status; and it
answers so many at once in all, whoever they are from. So one host does not get all of them.
"""

from collections import Counter

from p2p_client.upload.refusals import TooManyCalls


class Callers:
    def __init__(self, most_each: int) -> None:
        self._most_each = most_each
        self._calls: Counter[str] = Counter()

    def came(self, host: str) -> None:
        """A call; `left` is due when it is over. Raises TooManyCalls, and then `left` is not."""
        if self._calls[host] >= self._most_each:
            raise TooManyCalls(self._most_each)
        self._calls[host] += 1

    def left(self, host: str) -> None:
        self._calls[host] -= 1
        if not self._calls[host]:
            del self._calls[host]
