"""Which resource fulfils which criteria, without a database: for those who watch.

`Topics` finds the criteria that one resource fulfils among thousands: each is filed under one thing
that every resource fulfilling it must have (a path, a digest's beginning, a name, an owner, a
trigram of the path), so a resource is held against those few that share something with it. The
plain `fulfils` is the specification, and a test says so.
"""

from collections.abc import Hashable, Iterator
from typing import TypeVar

from p2p_server.directory.models import Criteria, Resource
from p2p_server.directory.query import TRIGRAM_LENGTH, glob_literals, glob_matcher

_PREFIX_LENGTH = 8  # the shortest digest prefix that is taken

Key = tuple[str, str]
K = TypeVar("K", bound=Hashable)


def fulfils(criteria: Criteria, resource: Resource, folded_path: str, folded_owner: str) -> bool:
    """Whether a Query with these criteria would find the resource. `order` is no matter."""
    size = resource.size_bytes
    return (
        (not criteria.owner or criteria.owner == folded_owner)
        and all(word in folded_path for word in criteria.words)
        and (not criteria.path or criteria.path == resource.path)
        and (not criteria.name or criteria.name == resource.name)
        and resource.digest.startswith(criteria.digest_prefix)
        and (criteria.min_size_bytes is None or size >= criteria.min_size_bytes)
        and (criteria.max_size_bytes is None or size <= criteria.max_size_bytes)
        and _has_type(criteria.media_type, resource.media_type)
        and (not criteria.glob or glob_matcher(criteria.glob)(folded_path))
    )


def _has_type(wanted: str, media_type: str) -> bool:
    if wanted.endswith("/"):
        return media_type.startswith(wanted)
    return not wanted or wanted == media_type


class Topics:
    """Criteria that somebody watches, each once, in the order in which they were added."""

    def __init__(self) -> None:
        self._key_of: dict[Criteria, Key | str | None] = {}
        self._by_key: dict[Key, dict[Criteria, None]] = {}
        self._by_trigram: dict[str, dict[Criteria, None]] = {}
        self._loose: dict[Criteria, None] = {}  # held against every resource
        self._of_anybody = 0

    def __len__(self) -> int:
        return len(self._key_of)

    def __contains__(self, criteria: object) -> bool:
        return criteria in self._key_of

    def add(self, criteria: Criteria) -> None:
        if criteria in self._key_of:
            return
        key = self._key_of[criteria] = self._best_key(criteria)
        self._of_anybody += not criteria.owner
        if key is None:
            self._loose[criteria] = None
        elif isinstance(key, str):
            self._by_trigram.setdefault(key, {})[criteria] = None
        else:
            self._by_key.setdefault(key, {})[criteria] = None

    def discard(self, criteria: Criteria) -> None:
        if criteria not in self._key_of:
            return
        key = self._key_of.pop(criteria)
        self._of_anybody -= not criteria.owner
        if key is None:
            del self._loose[criteria]
        elif isinstance(key, str):
            _drop(self._by_trigram, key, criteria)
        else:
            _drop(self._by_key, key, criteria)

    def concern(self, folded_owner: str) -> bool:
        """Whether anything of that user can fulfil any of them."""
        return bool(self._of_anybody) or any(c.owner == folded_owner for c in self._key_of)

    def fulfilled(self, resource: Resource, folded_path: str, folded_owner: str) -> set[Criteria]:
        """All that the resource fulfils."""
        return {
            criteria
            for criteria in self._candidates(resource, folded_path, folded_owner)
            if fulfils(criteria, resource, folded_path, folded_owner)
        }

    def _candidates(
        self, resource: Resource, folded_path: str, folded_owner: str
    ) -> Iterator[Criteria]:
        yield from self._loose
        if self._by_key:
            for key in (
                ("path", resource.path),
                ("digest", resource.digest[:_PREFIX_LENGTH]),
                ("name", resource.name),
                ("owner", folded_owner),
            ):
                yield from self._by_key.get(key, ())
        if self._by_trigram:
            grams = {
                folded_path[at : at + TRIGRAM_LENGTH]
                for at in range(len(folded_path) - TRIGRAM_LENGTH + 1)
            }
            for trigram in grams & self._by_trigram.keys():
                yield from self._by_trigram[trigram]

    def _best_key(self, criteria: Criteria) -> Key | str | None:
        if criteria.path:
            return "path", criteria.path
        if criteria.digest_prefix:
            return "digest", criteria.digest_prefix[:_PREFIX_LENGTH]
        if criteria.name:
            return "name", criteria.name
        texts = (*criteria.words, *glob_literals(criteria.glob))
        longest = max(texts, key=len, default="")
        grams = [longest[at : at + TRIGRAM_LENGTH] for at in range(len(longest) - 2)]
        if grams:  # under the one that fewest others are filed under
            return min(grams, key=lambda gram: len(self._by_trigram.get(gram, ())))
        return ("owner", criteria.owner) if criteria.owner else None


def _drop(filed: dict[K, dict[Criteria, None]], key: K, criteria: Criteria) -> None:
    below = filed[key]
    del below[criteria]
    if not below:
        del filed[key]
