"""What becomes of the candidate endpoints of sessions, from the offer to the last verdict.

Dialling is done by others (`p2p_server.dialback`): they `take` an order, dial, and `conclude` it.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from p2p_server.directory.errors import StoreUnavailable
from p2p_server.directory.events import Judged
from p2p_server.directory.models import EndpointStatus, Session, Verdict
from p2p_server.directory.presence.reach.dialling import Dialling, DialOrder
from p2p_server.directory.presence.reach.endpoints import Answer, is_pending, is_visible, verdict
from p2p_server.directory.presence.registration import Clock, Tell
from p2p_server.directory.presence.roster import Live, Roster
from p2p_server.store.base import Store

ASK_AGAIN_SECONDS: Final = 300.0  # what failed is dialled again, for firewalls do get opened


class Reachability:
    def __init__(
        self, store: Store, roster: Roster, clock: Clock, tell: Tell, wake: Callable[[], None]
    ) -> None:
        self._store = store
        self._roster = roster
        self._clock = clock
        self._tell = tell
        self._wake = wake  # called when there is something to take
        self._dialling = Dialling()

    def first_look(self, session: Session) -> tuple[EndpointStatus, ...]:
        """The verdicts known without dialling: from lately, or from the session replaced."""
        now = self._clock.monotonic()
        before = self._verdicts_before(session)
        statuses = []
        for status in session.endpoint_statuses:
            if status.verdict is Verdict.PENDING:
                order = _order(session, status)
                answer = self._dialling.known(order, now)
                status = _judged(status, order, answer) if answer else before.get(order, status)
            statuses.append(status)
        return tuple(statuses)

    def _verdicts_before(self, session: Session) -> dict[DialOrder, EndpointStatus]:
        live = self._roster.of_peer(session.peer_id)
        if live is None:
            return {}
        same = replace(live.session, token_hash=session.token_hash)
        return {_order(same, status): status for status in live.statuses}

    def ask(self, live: Live) -> None:
        """Has all endpoints dialled that may be and are not known from a moment ago."""
        self._order_dials(live, live.statuses)

    def ask_again(self, live: Live) -> None:
        """Has those dialled again that were not reached a while ago."""
        if self._clock.monotonic() - live.judged_at < ASK_AGAIN_SECONDS:
            return
        failed = {Verdict.UNREACHABLE, Verdict.LOCAL_ONLY}
        self._order_dials(live, [s for s in live.statuses if s.verdict in failed])

    def _order_dials(self, live: Live, statuses: Iterable[EndpointStatus]) -> None:
        live.judged_at = now = self._clock.monotonic()
        for status in statuses:
            order = _order(live.session, status)
            if status.verdict is Verdict.REFUSED or self._dialling.known(order, now):
                continue
            if not self._dialling.add(order):
                self._note(live, order, Answer.NOBODY)
        self._wake()

    def take(self) -> DialOrder | None:
        """The next endpoint to dial."""
        return self._dialling.take()

    def known(self, order: DialOrder) -> Answer | None:
        """An answer that became known while the order was waiting, or that no dial may find out."""
        return self._dialling.known(order, self._clock.monotonic())

    async def conclude(self, order: DialOrder, answer: Answer, *, dialled: bool) -> None:
        """Takes in what was found at an endpoint."""
        if dialled:
            self._dialling.learn(order, answer, self._clock.monotonic())
        live = self._roster.find(order.token_hash)
        if live is None or not self._note(live, order, answer):
            return
        if not is_pending(live.statuses):
            session = live.session
            self._tell(Judged(session.user, session.peer_id, live.statuses))
        await self.save(live)

    def _note(self, live: Live, order: DialOrder, answer: Answer) -> bool:
        statuses = tuple(
            _judged(status, order, answer) if status.endpoint == order.endpoint else status
            for status in live.statuses
        )
        if statuses == live.statuses:
            return False
        live.statuses, live.is_saved = statuses, False
        return True

    async def save(self, live: Live) -> None:
        """Tells the store the verdicts. When it is away they stay unsaved, for a later try."""
        statuses, session = live.statuses, live.session
        try:
            await self._store.set_endpoints(
                session.peer_id, session.token_hash, statuses, is_visible(statuses)
            )
        except StoreUnavailable:
            return
        live.is_saved = live.statuses == statuses


def _order(session: Session, status: EndpointStatus) -> DialOrder:
    return DialOrder(
        session.peer_id,
        session.token_hash,
        session.certificate_der,
        status.endpoint,
        session.observed_host,
    )


def _judged(status: EndpointStatus, order: DialOrder, answer: Answer) -> EndpointStatus:
    return replace(status, verdict=verdict(status.endpoint, answer, order.observed_host))
