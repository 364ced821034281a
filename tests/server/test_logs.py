"""One record is one line that a terminal simply prints, whatever a stranger calls itself."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_server import logs
from p2p_server.config import LogFormat
from p2p_server.directory.events import (
    Announced,
    Event,
    Expired,
    Judged,
    Left,
    Registered,
    Removed,
)
from p2p_server.directory.models import Endpoint, EndpointStatus, PeerId, Verdict

PEER = PeerId("0123456789abcdef")


def judged(*verdicts: Verdict) -> Judged:
    statuses = (EndpointStatus(Endpoint("10.0.0.5", 4000 + i), v) for i, v in enumerate(verdicts))
    return Judged("alice", PEER, tuple(statuses))


def announced(
    resources: int, size_bytes: int, withdrawn: int = 0, rejected: int = 0, snapshot: bool = False
) -> Announced:
    return Announced("alice", PEER, resources, size_bytes, withdrawn, rejected, snapshot)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (
            Registered("alice", PEER, "10.0.0.5", True, False, "p2p-client 0.1"),
            "alice registered from 10.0.0.5 (peer 01234567, p2p-client 0.1)",
        ),
        (
            Registered("alice", PEER, "10.0.0.5", False, True, ""),
            "alice registered for the first time from 10.0.0.5 (peer 01234567, client only)",
        ),
        (judged(Verdict.REACHABLE, Verdict.UNREACHABLE), "alice is listed at 10.0.0.5:4000"),
        (judged(Verdict.LOCAL_ONLY), "alice is listed at 10.0.0.5:4000 (local)"),
        (
            judged(Verdict.UNREACHABLE),
            "alice is not listed, for it cannot be reached at 10.0.0.5:4000",
        ),
        (judged(), "alice is not listed, for it offers no address"),
        (announced(12, 3_650_722_202), "alice announced 12 resources, 3.4 GiB"),
        (announced(1, 1), "alice announced 1 resource, 1 B"),
        (announced(0, 0, snapshot=True), "alice announced 0 resources, 0 B"),
        (announced(0, 0, withdrawn=2_000), "alice withdrew 2,000"),
        (
            announced(3, 1_024, withdrawn=1, rejected=2),
            "alice announced 3 resources, 1.0 KiB, withdrew 1, 2 rejected",
        ),
        (Left("alice", PEER, True), "alice left"),
        (Expired("alice", PEER, True), "alice expired: no heartbeat within its lease"),
        (Removed("alice", PEER), "alice was removed, or registered elsewhere"),
    ],
)
def test_events_read_as_sentences(event: Event, sentence: str) -> None:
    assert logs.sentence(event) == sentence


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (2**63 - 1, "8.0 EiB"),
        (2**80, "1048576.0 EiB"),
    ],
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert logs.size_text(size_bytes) == text


@given(text=st.text(st.characters()))
def test_nothing_unprintable_is_printed(text: str) -> None:
    assert logs.printable(text).isprintable()


@pytest.fixture
def root_kept() -> Iterator[None]:
    """Logging as it was, after the test."""
    root, handlers = logging.getLogger(), logging.getLogger().handlers[:]
    yield
    root.handlers[:] = handlers
    logs.log.setLevel(logging.NOTSET)


HOSTILE = 'x\n2026-01-01 00:00:00 root left\r\x1b[2J\x9b\u202e\u2028"}'


@pytest.mark.usefixtures("root_kept")
@pytest.mark.parametrize("log_format", LogFormat)
def test_a_record_is_one_line_whatever_is_in_it(log_format: LogFormat) -> None:
    stream = io.StringIO()
    logs.configure(log_format, stream)

    logs.tell(Registered("alice", PEER, "10.0.0.5", True, False, HOSTILE))

    printed = stream.getvalue()
    assert len(printed.splitlines()) == 1
    assert printed.removesuffix("\n").isprintable()


@pytest.mark.usefixtures("root_kept")
def test_json_lines_have_the_event_and_its_fields() -> None:
    stream = io.StringIO()
    logs.configure(LogFormat.JSON, stream)

    logs.tell(judged(Verdict.REACHABLE))
    logs.tell(announced(2, 5))

    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first["event"] == "judged"
    assert first["endpoints"] == {"10.0.0.5:4000": "reachable"}
    assert (second["event"], second["user"], second["size_bytes"]) == ("announced", "alice", 5)
    assert second["level"] == "info"
    assert second["time"].endswith("+00:00")


@pytest.mark.usefixtures("root_kept")
@pytest.mark.parametrize("log_format", LogFormat)
def test_a_traceback_is_kept_and_harmless(log_format: LogFormat) -> None:
    stream = io.StringIO()
    logs.configure(log_format, stream)

    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logs.log.exception("failed for %s", HOSTILE)

    printed = stream.getvalue()
    assert "Traceback" in printed
    assert printed.replace("\n", "").isprintable()
    lines = printed.splitlines()
    assert len(lines) == 1 or all(line.startswith("    ") for line in lines[1:])


@pytest.mark.usefixtures("root_kept")
def test_client_only_sessions_come_and_go_in_silence() -> None:
    stream = io.StringIO()
    logs.configure(LogFormat.TEXT, stream)

    logs.tell(Registered("alice", PEER, "10.0.0.5", False, False, ""))
    logs.tell(Left("alice", PEER, False))

    assert not stream.getvalue()
