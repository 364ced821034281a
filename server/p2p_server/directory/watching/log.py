"""The last events that somebody watches for, numbered: what watchers read, each at its own place.

One log for all: a watcher is a number in it, so one that never reads costs nothing, and what is
held is bounded whoever reads how slowly. What falls out at the old end is gone for who has not read
it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from p2p_server.directory.models import Criteria, PeerRow, Resource
from p2p_server.directory.query import fold

MOST_HELD: Final = 60_000  # events; some 40 MB with long paths
SLICE: Final = 250  # events of one entry and of one reading: at most 1 MiB on the wire
_REFERENCES_PER_EVENT: Final = 8  # so many references weigh as much as an event


class Kind(Enum):
    APPEARED = "appeared"
    CHANGED = "changed"
    GONE = "gone"
    PEER_CAME = "peer_came"
    PEER_LEFT = "peer_left"
    STARTED_ANEW = "started_anew"
    CAUGHT_UP = "caught_up"


@dataclass(frozen=True, slots=True)
class Happening:
    """One event. `peer` is None in those about the watch itself."""

    kind: Kind
    peer: PeerRow | None = None
    resource: Resource | None = None


STARTED_ANEW: Final = Happening(Kind.STARTED_ANEW)
CAUGHT_UP: Final = Happening(Kind.CAUGHT_UP)


@dataclass(frozen=True, slots=True)
class Watched:
    """What one watcher is told of."""

    criteria: Criteria
    with_peers: bool = True

    def has_owner(self, folded_owner: str) -> bool:
        return not self.criteria.owner or self.criteria.owner == folded_owner


@dataclass(frozen=True, slots=True)
class _Entry:
    """At most SLICE events about one peer: one of the peer itself, or some of its resources."""

    hits: Mapping[Criteria, Sequence[Happening]]
    of_peer: Happening | None = None
    folded_owner: str = ""
    weight: int = 1

    def of(self, watched: Watched) -> Sequence[Happening]:
        if self.of_peer is None:
            return self.hits.get(watched.criteria, ())
        told = watched.with_peers and watched.has_owner(self.folded_owner)
        return (self.of_peer,) if told else ()


class ChangeLog:
    """
    Args:
        identity: differs from that of every other log, so that no place in one is taken for a
            place in another.
    """

    def __init__(self, identity: str, most_held: int = MOST_HELD) -> None:
        self.identity = identity
        self.most_held = most_held
        self._entries: dict[int, _Entry] = {}  # by number: a deque is slow to enter far back
        self._weight = 0
        self.oldest = 0  # number of the first entry that is held

    @property
    def next_number(self) -> int:
        return self.oldest + len(self._entries)

    @property
    def weight(self) -> int:
        return self._weight

    def append(self, hits: Mapping[Criteria, Sequence[Happening]], event_count: int) -> int:
        """The number of the entry."""
        references = sum(map(len, hits.values()))
        return self._push(
            _Entry(hits, weight=1 + event_count + references // _REFERENCES_PER_EVENT)
        )

    def append_peer(self, happening: Happening) -> int:
        """The number of the entry."""
        assert happening.peer is not None
        return self._push(_Entry({}, happening, fold(happening.peer.user)))

    def skip(self) -> int:
        """A number that is greater than all that were given out; nothing is at its place."""
        self._push(_Entry({}))
        return self.next_number

    def _push(self, entry: _Entry) -> int:
        self._entries[self.next_number] = entry
        self._weight += entry.weight
        while self._weight > self.most_held and len(self._entries) > 1:
            self._weight -= self._entries.pop(self.oldest).weight
            self.oldest += 1
        return self.next_number - 1

    def read(self, watched: Watched, number: int) -> tuple[list[Happening], int]:
        """Up to SLICE events from that entry on, and the entry to read next.

        No events: none of what is held from there on is told to this watcher. `number` must be
        within what is held.
        """
        found: list[Happening] = []
        while number < self.next_number:
            events = self._entries[number].of(watched)
            if len(found) + len(events) > SLICE:
                break
            found += events
            number += 1
        return found, number
