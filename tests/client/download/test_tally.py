"""What a download tells of its sources: each failure once, and no flood of them."""

from datetime import UTC, datetime

from p2p_client.cli.progress import failed_line
from p2p_client.download.events import Event, SourceFailed
from p2p_client.download.tally import MOST_REASONS_OF_ONE, MOST_SOURCES_NAMED, Tally
from p2p_client.errors import SourceUnavailable
from p2p_client.models import Endpoint, PeerId, Source

FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)


def source(user: str, *ports: int) -> Source:
    endpoints = tuple(Endpoint("127.0.0.1", port) for port in ports)
    return Source(PeerId(f"peer-of-{user}"), user, endpoints, b"", "", FAR_FUTURE)


def unavailable(message: str, reason: str = "UNREACHABLE") -> SourceUnavailable:
    return SourceUnavailable(message, reason=reason)


def test_an_address_is_said_once() -> None:
    events: list[Event] = []
    tally = Tally(events.append)
    tally.failed(source("bob", 4000, 4001), unavailable("it refuses at 127.0.0.1:4000"))
    tally.failed(source("carol", 5000), unavailable("it sent nothing for 30 s", "STALLED"))

    assert tally.failures() == (
        "bob: it refuses at 127.0.0.1:4000; carol at 127.0.0.1:5000: it sent nothing for 30 s"
    )
    assert [failed_line(event) for event in events if isinstance(event, SourceFailed)] == [
        "source bob dropped out: it refuses at 127.0.0.1:4000",
        "source carol (127.0.0.1:5000) dropped out: it sent nothing for 30 s",
    ]


def test_a_source_that_has_a_new_reason_each_time_is_not_listened_to() -> None:
    events: list[Event] = []
    tally = Tally(events.append)
    for number in range(1_000):
        tally.failed(source("bob", 4000), unavailable("no", f"REASON_{number}"))

    assert len(events) == MOST_REASONS_OF_ONE
    assert len(tally.failures()) < 100


def test_of_very_many_that_failed_some_are_named() -> None:
    tally = Tally(lambda _: None)
    for number in range(1_000):
        tally.failed(source(f"user{number}", 4000), unavailable("it is gone"))

    assert tally.failures().count("it is gone") == MOST_SOURCES_NAMED
    assert tally.failures().endswith(f"; and {1_000 - MOST_SOURCES_NAMED} more")
