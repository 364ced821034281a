"""Many plans and one capped seeder, in simulated time: what one got, the others get from it.

Bandwidth is shared out evenly among the streams of an uploader; news of pieces travel with a delay.
"""

from collections import Counter
from dataclasses import dataclass, field

import pytest

from p2p_client.content.manifest import PieceIndex
from p2p_client.download.picker.pieces import span
from p2p_client.download.plan import Abandon, Failure, Open, Plan, StreamId
from p2p_client.models import PeerId

STEP_SECONDS = 0.02
SEEDER = PeerId("seeder")


@dataclass
class Node:
    """One peer that downloads and uploads; rates in pieces a second."""

    name: PeerId
    plan: Plan
    upload_rate: float
    dies_at: float = float("inf")
    running: dict[StreamId, tuple[Open, float]] = field(default_factory=dict)
    done_at: float = 0.0


@dataclass
class Spread:
    piece_count: int
    users: int
    seeder_rate: float
    peer_rate: float = 60.0
    found_after_seconds: float = 0.5
    news_seconds: float = 0.06
    now: float = 0.0
    seeder_gave: Counter[int] = field(default_factory=Counter)
    news: list[tuple[float, PeerId, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = {
            name: Node(name, Plan(span(0, self.piece_count), 4, seed, name), self.peer_rate)
            for seed in range(self.users)
            if (name := PeerId(f"user-{seed}"))
        }
        for node in self.nodes.values():
            node.plan.offer(SEEDER)
        self.everybody = list(self.nodes.values())

    def _die(self, dead: Node) -> None:
        """Its own streams are no more, and those from it fail; the directory lists it on."""
        self.nodes.pop(dead.name, None)
        for node in self.nodes.values():
            for stream, (command, _) in list(node.running.items()):
                if command.source == dead.name:
                    del node.running[stream]
                    node.plan.closed(stream, self.now, Failure.UNAVAILABLE)

    @property
    def copies(self) -> float:
        return self.seeder_gave.total() / self.piece_count

    @property
    def done_at(self) -> float:
        """When the last one that lived was done."""
        return max(node.done_at for node in self.nodes.values())

    def run(self, most_seconds: float = 200.0) -> None:
        were_found = False
        while any(self.now < node.dies_at and not node.plan.is_complete for node in self.everybody):
            assert self.now < most_seconds, "it goes on for ever"
            if not were_found and self.now >= self.found_after_seconds:
                were_found = True
                self._introduce()
            self._tell_news()
            for node in self.everybody:
                if self.now >= node.dies_at:
                    self._die(node)
            for node in self.nodes.values():
                self._command(node)
            self._advance()
            self.now += STEP_SECONDS

    def _introduce(self) -> None:
        for node in self.nodes.values():
            for other in self.nodes:
                if other != node.name:
                    node.plan.offer(other, is_whole=False)

    def _tell_news(self) -> None:
        due = [item for item in self.news if item[0] <= self.now]
        if self.now >= self.found_after_seconds:
            self.news = [item for item in self.news if item[0] > self.now]
            for _, source, piece in due:
                for node in self.nodes.values():
                    if node.name != source:
                        node.plan.learned(source, 1 << piece)

    def _command(self, node: Node) -> None:
        for command in node.plan.next(self.now):
            match command:
                case Open():
                    node.running[command.stream] = (command, float(command.first))
                case Abandon(stream):
                    node.running.pop(stream)
                    node.plan.closed(stream, self.now)

    def _advance(self) -> None:
        streams = Counter(
            o.source for node in self.nodes.values() for o, _ in node.running.values()
        )
        for node in self.nodes.values():
            for stream, (command, at) in list(node.running.items()):
                whole = command.source == SEEDER
                rate = self.seeder_rate if whole else self._upload_rate(command.source)
                self._move(node, stream, command, at, rate / streams[command.source])
            if node.plan.is_complete and not node.done_at:
                node.done_at = self.now

    def _upload_rate(self, name: PeerId) -> float:
        return self.nodes[name].upload_rate if name in self.nodes else 0.0

    def _move(self, node: Node, stream: StreamId, command: Open, at: float, rate: float) -> None:
        stop = node.plan.stop_of(stream)
        to = min(at + rate * STEP_SECONDS, stop)
        node.running[stream] = (command, to)
        if to > at:
            node.plan.heard(stream, min(int(to), stop - 1), self.now)
        for piece in range(int(at), int(to)):
            node.plan.verified(stream, PieceIndex(piece), self.now)
            self.news.append((self.now + self.news_seconds, node.name, piece))
            if command.source == SEEDER:
                self.seeder_gave[piece] += 1
        if int(to) >= stop:
            del node.running[stream]
            node.plan.closed(stream, self.now)


@pytest.mark.parametrize(("pieces", "users"), [(191, 6), (191, 3), (57, 3), (191, 2)])
def test_a_capped_seeder_gives_little_more_than_one_copy(pieces: int, users: int) -> None:
    spread = Spread(pieces, users, seeder_rate=23.8)

    spread.run()

    assert spread.copies < 1.15
    assert spread.done_at < 1.2 * pieces / 23.8


def test_what_a_dead_peer_should_have_got_the_others_get() -> None:
    spread = Spread(191, 6, seeder_rate=23.8)
    spread.everybody[2].dies_at = spread.everybody[4].dies_at = 3.0

    spread.run()

    assert len(spread.nodes) == 4
    assert spread.copies < 1.3
    assert spread.done_at < 1.5 * 191 / 23.8


def test_peers_that_give_next_to_nothing_hold_nobody_up_for_long() -> None:
    spread = Spread(191, 6, seeder_rate=23.8)
    for node in spread.everybody[:3]:
        node.upload_rate = 0.2

    spread.run()

    assert spread.done_at < 2.5 * 191 / 23.8
