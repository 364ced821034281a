"""Rates and times left say what happened lately, and events become the records of the contract."""

import json
from pathlib import Path

import pytest

from p2p_client.cli.progress import (
    DownloadView,
    RateMeter,
    download_record,
    finished_line,
    queued_line,
)
from p2p_client.cli.render import Output, json_line
from p2p_client.download.events import Event, Finished, Progress, Queued, SourceFailed, Started
from p2p_client.models import Digest, Endpoint, PeerId

DIGEST = Digest("ab" * 32)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = RateMeter(window_seconds=2)
    for second, total_bytes in enumerate([0, 1000, 2000, 2100, 2200]):
        meter.add(float(second), total_bytes)

    assert meter.bytes_per_second == 100
    assert meter.seconds_left(500) == 5


def test_without_two_samples_nothing_is_claimed() -> None:
    meter = RateMeter()
    assert meter.bytes_per_second == 0
    assert meter.seconds_left(10) is None

    meter.add(1.0, 50)
    meter.add(1.0, 60)

    assert meter.bytes_per_second == 0


def test_a_count_that_falls_starts_anew() -> None:
    meter = RateMeter()
    for at, total_bytes in [(0.0, 0), (1.0, 1000), (2.0, 0), (3.0, 10)]:
        meter.add(at, total_bytes)

    assert meter.bytes_per_second == 10


@pytest.mark.parametrize(
    ("event", "record"),
    [
        (
            Started(Path("a"), DIGEST, 9, 3, ("bob",)),
            {"event": "started", "path": "a", "digest": f"b3:{DIGEST}", "size_bytes": 9}
            | {"resumed_bytes": 3, "sources": ["bob"]},
        ),
        (
            Progress(5, 2, 9),
            {"event": "progress", "verified_bytes": 5, "fetched_bytes": 2, "size_bytes": 9},
        ),
        (
            SourceFailed("bob", PeerId("p"), Endpoint("::1", 4), "STREAM_IDLE", "stalled"),
            {"event": "source_failed", "user": "bob", "peer_id": "p", "endpoint": "[::1]:4"}
            | {"reason": "STREAM_IDLE", "message": "stalled"},
        ),
        (
            Queued("bob", 2, 7, 12.345),
            {"event": "queued", "user": "bob", "position": 2, "waiting_count": 7}
            | {"expected_wait_seconds": 12.3},
        ),
        (
            Queued("bob", 0, 1, None),
            {"event": "queued", "user": "bob", "position": 0, "waiting_count": 1}
            | {"expected_wait_seconds": None},
        ),
        (
            SourceFailed("bob", PeerId("p"), None, "X", "gone"),
            {"event": "source_failed", "user": "bob", "peer_id": "p", "endpoint": None}
            | {"reason": "X", "message": "gone"},
        ),
        (
            Finished(Path("a"), DIGEST, 9, 6, 3, 0.5, ("bob", "carol")),
            {"event": "finished", "path": "a", "digest": f"b3:{DIGEST}", "size_bytes": 9}
            | {"fetched_bytes": 6, "resumed_bytes": 3, "seconds": 0.5}
            | {"sources": ["bob", "carol"]},
        ),
    ],
)
def test_an_event_becomes_its_record(event: Event, record: dict[str, object]) -> None:
    assert json.loads(json_line(download_record(event))) == record


def test_the_last_line_says_where_how_much_how_fast_and_what() -> None:
    line = finished_line(
        Finished(Path("x/a.iso"), DIGEST, 2_000_000, 1_000_000, 1_000_000, 2, ("b",))
    )

    assert line.startswith("x/a.iso  2.00 MB in 2.00 s (500 kB/s, 1.00 MB were here before)")
    assert line.endswith(f"from b  b3:{DIGEST}")


@pytest.mark.parametrize(
    ("queued", "line"),
    [
        (Queued("bob", 0, 1, None), "waiting in bob's queue: 1 of 1"),
        (Queued("bob", 2, 7, 4.4), "waiting in bob's queue: 3 of 7, about 4 s"),
        (Queued("bob", 2, 7, 0.0), "waiting in bob's queue: 3 of 7, about 1 s"),
        (Queued("bob", 2, 7, 187), "waiting in bob's queue: 3 of 7, about 3 min 07 s"),
    ],
)
def test_one_who_waits_reads_its_place_and_how_long(queued: Queued, line: str) -> None:
    assert queued_line(queued) == line


def test_without_a_terminal_each_wait_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = DownloadView(Output())
    for event in (
        Queued("bob", 3, 7, None),
        Progress(0, 0, 9),
        Queued("bob", 2, 7, None),
        Progress(5, 5, 9),  # bytes came: the wait is over
        Queued("bob", 1, 2, None),
    ):
        view.show(event)

    assert capsys.readouterr().err.splitlines() == [
        "p2p-client: waiting in bob's queue: 4 of 7",
        "p2p-client: waiting in bob's queue: 2 of 2",
    ]
