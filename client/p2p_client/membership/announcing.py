"""The announcing half of the machine: which batch is under way, and what came of the last. Pure.

Decides when; what is in a batch is decided in `announcer.py`. Works only while the machine says
that we are registered.
"""

from p2p_client.errors import DirectoryRefused, PeerError
from p2p_client.library.catalog import Catalog
from p2p_client.membership.announcer import Announcer
from p2p_client.membership.events import Command, SendBatch, SetTimer, Tell, Timer
from p2p_client.models import Announced, Granted, RejectedItem, Revision

SPACING_SECONDS = 0.1  # changes that come close together travel together
SETTLE_SECONDS = 2.0
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 8.0
REFUSED_RETRY_SECONDS = 60.0
BUSY_RETRY_SECONDS = 2.0
PASSING = frozenset({"TOO_MANY_ANNOUNCES"})  # nothing is wrong with the catalog
MOST_REJECTED_NAMED = 3
MOST_REJECTED_KEPT = 10_000


class Announcing:
    """Brings one directory to hold what one catalog has. At most one batch is under way."""

    def __init__(self, catalog: Catalog) -> None:
        self.held = Revision()
        self.rejected: dict[str, RejectedItem] = {}
        self.error: PeerError | None = None  # what the directory has against all of it
        self._catalog = catalog
        self._announcer = Announcer(catalog)
        self._is_under_way = False
        self._timer_is_set = False
        self._heartbeat_may_be_stale = False
        self._mismatches = 0  # in a row
        self._polls = 0

    @property
    def revision(self) -> Revision:
        return self._catalog.revision

    def holds(self, wanted: Revision) -> bool:
        """Whether the directory holds all that the catalog had at that revision."""
        return (
            self.held.epoch == wanted.epoch
            and self.held.counter >= wanted.counter
            and self._announcer.is_whole(self.held)
        )

    # --- what the machine tells ----------------------------------------------------------------

    def admitted(self, session: int, granted: Granted) -> list[Command]:
        self.held = granted.renewed.held
        self._is_under_way = False
        self._announcer.limit(granted.max_announce_items, granted.max_request_bytes)
        return self.go_on(session)

    def heartbeat_sent(self) -> None:
        self._heartbeat_may_be_stale = self._is_under_way

    def renewed(self, session: int, held: Revision) -> list[Command]:
        """Of a heartbeat and a batch that were under way together nobody knows which was answered
        first: what such a heartbeat says is held does not count."""
        if not self._heartbeat_may_be_stale:
            self.held = held
        return [] if self._timer_is_set else self.go_on(session)

    def catalog_changed(self) -> list[Command]:
        return [] if self._is_under_way else self._soon()

    def timer_fired(self) -> None:
        self._timer_is_set = False

    def batch_lost(self) -> None:
        """Nobody knows whether it was taken; it will be sent again."""
        self._is_under_way = False

    def batch_taken(self, session: int, announced: Announced) -> list[Command]:
        self._is_under_way = False
        self.held = announced.held
        told = self._told_of(announced.rejected)
        if not self._announcer.taken(self.held):
            return [*told, *self._mismatched(session)]
        self._mismatches = 0
        self.error = None
        if self._announcer.is_midway:
            return [*told, *self.go_on(session)]
        return [*told, *(self._soon() if self.held != self._catalog.revision else [])]

    def batch_refused(self, session: int, error: DirectoryRefused) -> list[Command]:
        self._is_under_way = False
        if error.reason == "REVISION_MISMATCH":
            return self._mismatched(session)
        if error.reason == "TOO_LARGE" and self._announcer.too_large():
            return self.go_on(session)
        if error.reason in PASSING:
            return self._soon(_retry_after(error))
        told: list[Command] = []
        if self.error is None:
            told = [Tell(f"what we share is not listed: {error}")]
        self.error = error
        return [*told, *self._soon(REFUSED_RETRY_SECONDS)]

    def go_on(self, session: int) -> list[Command]:
        """The next batch, if there is one to send and none under way."""
        if self._is_under_way:
            return []
        if self._is_settling():
            return self._soon()
        batch = self._announcer.next_batch(self.held)
        if batch is None:
            return []
        self._is_under_way = self._heartbeat_may_be_stale = True
        return [SendBatch(session, batch)]

    # --- details -------------------------------------------------------------------------------

    def _is_settling(self) -> bool:
        """A restarted library knows its files again in a moment: until then, what the directory
        still holds of the last run is better than a snapshot of a part."""
        if self._catalog.settled or self.held.epoch == self._catalog.revision.epoch:
            return False
        self._polls += 1
        return self._polls * SPACING_SECONDS <= SETTLE_SECONDS

    def _soon(self, seconds: float = SPACING_SECONDS) -> list[Command]:
        """A timer that runs is left alone: steady changes would put it off for ever."""
        if self._timer_is_set:
            return []
        self._timer_is_set = True
        return [SetTimer(Timer.ANNOUNCE, seconds)]

    def _mismatched(self, session: int) -> list[Command]:
        """At once the first time; a directory that never agrees is asked ever slower."""
        self._announcer.mismatched()
        self._mismatches += 1
        if self._mismatches == 1:
            return self.go_on(session)
        pause = FIRST_RETRY_SECONDS * 2.0 ** min(self._mismatches - 2, 10)
        return self._soon(min(pause, LONGEST_RETRY_SECONDS))

    def _told_of(self, items: tuple[RejectedItem, ...]) -> list[Command]:
        """One notice for what is rejected for the first time."""
        new = [item for item in items if item.item not in self.rejected]
        if not new:
            return []
        room = max(0, MOST_REJECTED_KEPT - len(self.rejected))
        self.rejected.update((item.item, item) for item in new[:room])
        named = "; ".join(f"{item.item} ({item.message})" for item in new[:MOST_REJECTED_NAMED])
        unnamed = len(new) - MOST_REJECTED_NAMED
        more = f" and {unnamed} more" if unnamed > 0 else ""
        return [Tell(f"the directory does not list {named}{more}")]


def _retry_after(error: DirectoryRefused) -> float:
    """As the directory says, within bounds; else a moment."""
    try:
        told = float(error.facts.get("retry_after_seconds", BUSY_RETRY_SECONDS))
    except ValueError:
        told = BUSY_RETRY_SECONDS
    return min(max(BUSY_RETRY_SECONDS, told), REFUSED_RETRY_SECONDS)
