"""Which endpoints are dialled next, and what is known without dialling.

The dialling itself is done elsewhere (`p2p_server.dialback`). Here is what keeps it fair and
harmless: every network that peers come from has its own queue and they take turns; answers are
remembered for a while; a network for which too many dials failed lately gets no more of them and is
told nothing but "not reached", as for any other failure.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from p2p_server.directory.models import Endpoint, PeerId
from p2p_server.directory.presence.reach.endpoints import Answer, network_of

FOUND_KEPT_SECONDS: Final = 300.0
FAILURE_KEPT_SECONDS: Final = 30.0  # short: people open a firewall and try again
FAILURE_WINDOW_SECONDS: Final = 300.0
MOST_FAILURES_PER_NETWORK: Final = 256
MOST_QUEUED_PER_NETWORK: Final = 512
MOST_QUEUED: Final = 16_384
MOST_REMEMBERED: Final = 65_536

CacheKey = tuple[bytes, Endpoint]


@dataclass(frozen=True, slots=True)
class DialOrder:
    """An endpoint to dial for a session, and whom to expect there."""

    peer_id: PeerId
    token_hash: bytes
    certificate_der: bytes
    endpoint: Endpoint
    observed_host: str

    @property
    def cache_key(self) -> CacheKey:
        return sha256(self.certificate_der).digest(), self.endpoint


class Dialling:
    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[DialOrder]] = OrderedDict()
        self._queued = 0
        self._known: OrderedDict[CacheKey, tuple[Answer, float]] = OrderedDict()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def known(self, order: DialOrder, now: float) -> Answer | None:
        """What needs no dialling: an answer found lately, or a network that has had its share."""
        answer, good_until = self._known.get(order.cache_key, (None, 0.0))
        if answer is not None and now < good_until:
            return answer
        if len(self._recent_failures(network_of(order.observed_host), now)) >= (
            MOST_FAILURES_PER_NETWORK
        ):
            return Answer.NOBODY
        return None

    def add(self, order: DialOrder) -> bool:
        """Queues a dial; False: too many are queued already."""
        network = network_of(order.observed_host)
        queue = self._queues.get(network)
        if self._queued >= MOST_QUEUED or (queue and len(queue) >= MOST_QUEUED_PER_NETWORK):
            return False
        self._queues.setdefault(network, deque()).append(order)
        self._queued += 1
        return True

    def take(self) -> DialOrder | None:
        """The next dial; networks take turns."""
        if not self._queues:
            return None
        network, queue = next(iter(self._queues.items()))
        order = queue.popleft()
        self._queued -= 1
        if queue:
            self._queues.move_to_end(network)
        else:
            del self._queues[network]
        return order

    def learn(self, order: DialOrder, answer: Answer, now: float) -> None:
        """Remembers what a dial showed."""
        kept = FOUND_KEPT_SECONDS if answer is Answer.THIS_PEER else FAILURE_KEPT_SECONDS
        self._known[order.cache_key] = (answer, now + kept)
        self._known.move_to_end(order.cache_key)
        while len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        if answer is not Answer.THIS_PEER:
            self._count_failure(network_of(order.observed_host), now)

    def _count_failure(self, network: str, now: float) -> None:
        self._recent_failures(network, now)
        self._failures.setdefault(network, deque()).append(now)
        self._failures.move_to_end(network)
        while len(self._failures) > MOST_REMEMBERED:
            self._failures.popitem(last=False)

    def _recent_failures(self, network: str, now: float) -> deque[float]:
        failures = self._failures.get(network)
        if failures is None:
            return deque()
        while failures and failures[0] <= now - FAILURE_WINDOW_SECONDS:
            failures.popleft()
        if not failures:
            del self._failures[network]
        return failures
