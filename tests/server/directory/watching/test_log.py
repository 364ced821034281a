"""The log that watchers read holds no more than it may, and gives each its own."""

from p2p_server.directory.models import Criteria, Digest, PeerId, PeerRow, Resource
from p2p_server.directory.watching.log import SLICE, ChangeLog, Happening, Kind, Watched

ALICE = PeerRow(PeerId("p" * 22), "Alice", b"", "", 0.0, (), 0, 0)
SUN, MOON = Criteria(words=("sun",)), Criteria(words=("moon",))


def happening(path: str = "a") -> Happening:
    resource = Resource(path, 1, Digest("a" * 64), Digest("b" * 64), 0.0)
    return Happening(Kind.APPEARED, ALICE, resource)


def test_each_reads_what_it_watches() -> None:
    log = ChangeLog("one")
    log.append({SUN: [happening("sun")]}, 1)
    log.append({MOON: [happening("moon")], SUN: [happening("both")]}, 2)
    log.append_peer(Happening(Kind.PEER_LEFT, ALICE))

    sun, at = log.read(Watched(SUN, with_peers=False), 0)
    moon, _ = log.read(Watched(MOON), 0)

    assert [e.resource.path for e in sun if e.resource] == ["sun", "both"]
    assert at == log.next_number == 3
    assert [e.kind for e in moon] == [Kind.APPEARED, Kind.PEER_LEFT]


def test_peers_are_told_to_who_watches_their_owner() -> None:
    log = ChangeLog("one")
    log.append_peer(Happening(Kind.PEER_CAME, ALICE))

    assert log.read(Watched(Criteria(owner="alice")), 0)[0]
    assert not log.read(Watched(Criteria(owner="bob")), 0)[0]


def test_what_does_not_fit_is_dropped_from_the_old_end() -> None:
    log = ChangeLog("one", most_held=100)
    for _ in range(1_000):
        log.append({SUN: [happening()] * 9}, 9)

    assert log.weight <= 100
    assert log.next_number == 1_000
    assert 985 <= log.oldest < 1_000


def test_references_weigh_too() -> None:
    log = ChangeLog("one", most_held=1_000)
    many = [Criteria(words=(str(number),)) for number in range(1_000)]
    for _ in range(100):
        log.append({criteria: [happening()] for criteria in many}, 1)

    assert log.next_number - log.oldest < 10


def test_one_reading_is_no_more_than_a_slice() -> None:
    log = ChangeLog("one")
    for _ in range(5):
        log.append({SUN: [happening()] * (SLICE // 2)}, SLICE // 2)

    first, at = log.read(Watched(SUN), 0)

    assert (len(first), at) == (SLICE, 2)
