"""A stream that waits for an upload slot is alive, says so, and does not wait for ever."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.downloads.downloads import Downloads, some_bytes
from tests.support.sources.fake import Behaviour, FakeSource, digest_of, running

from p2p_client.download.events import Queued
from p2p_client.download.sources import waiting
from p2p_client.download.sources.waiting import (
    LEAST_BYTES,
    LONGEST_WAIT_SECONDS,
    QueuePlace,
    Telling,
    Trickle,
    Wait,
)
from p2p_client.errors import TransferFailed

MIB = 1 << 20
CONTENT = some_bytes(4 * MIB)
DIGEST, _ = digest_of(CONTENT)
ENDLESS = 1 << 30


async def test_one_who_waits_in_a_queue_is_not_taken_for_stalled(
    downloads: Downloads, tmp_path: Path
) -> None:
    downloads.idle_timeout_seconds = 0.4
    source = FakeSource("bob", CONTENT, behaviour=Behaviour(queue_messages=20))
    async with running(source) as directory:
        await downloads.fetch(directory, DIGEST, tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == CONTENT
    assert source.waiters == [True]
    assert downloads.failures == []
    queued = [event for event in downloads.events if isinstance(event, Queued)]
    assert queued[0] == Queued("bob", 19, 20, None)


async def test_a_source_that_only_ever_lets_us_wait_is_given_up(
    downloads: Downloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "LONGEST_WAIT_SECONDS", 0.2)
    downloads.patience_seconds = 0.2
    source = FakeSource("bob", CONTENT, behaviour=Behaviour(queue_messages=ENDLESS))
    async with running(source) as directory:
        with pytest.raises(TransferFailed, match="only ever lets us wait"):
            await downloads.fetch(directory, DIGEST, tmp_path / "f")

    assert ("bob", "QUEUED") in downloads.failures


int32 = st.integers(-(1 << 31), (1 << 31) - 1)


@given(int32, int32, st.none() | st.floats(allow_nan=False))
def test_whatever_a_source_says_a_place_makes_sense(
    position: int, count: int, seconds: float | None
) -> None:
    place = QueuePlace.within_bounds(position, count, seconds)

    assert 0 <= place.position < place.waiting_count
    assert place.expected_wait_seconds is None or 0 <= place.expected_wait_seconds < 1e6
    assert QueuePlace.within_bounds(2, 7, 3.5) == QueuePlace(2, 7, 3.5)


def test_a_wait_is_over_when_it_was_too_long_and_bytes_begin_another() -> None:
    wait = Wait()
    assert not wait.is_too_long(0.0)
    assert not wait.is_too_long(LONGEST_WAIT_SECONDS - 1)
    wait.served(LEAST_BYTES)
    assert not wait.is_too_long(LONGEST_WAIT_SECONDS)
    assert not wait.is_too_long(2 * LONGEST_WAIT_SECONDS - 1)
    assert wait.is_too_long(2 * LONGEST_WAIT_SECONDS)


def test_a_byte_now_and_then_does_not_end_a_wait() -> None:
    wait, step = Wait(), LONGEST_WAIT_SECONDS / 100

    for at in range(100):
        assert not wait.is_too_long(at * step)
        wait.served(1)

    assert wait.is_too_long(LONGEST_WAIT_SECONDS)


def test_of_each_source_a_new_place_is_told_once_a_second() -> None:
    telling = Telling()
    place, better = QueuePlace(3, 4, None), QueuePlace(2, 4, None)

    assert telling.is_news("a", place, 0.0)
    assert telling.is_news("b", place, 0.1)
    assert not telling.is_news("a", better, 0.5)
    assert telling.is_news("a", better, 1.0)
    assert not telling.is_news("a", better, 9.0)


async def test_what_waits_at_one_source_is_fetched_from_another(
    downloads: Downloads, tmp_path: Path
) -> None:
    busy = FakeSource("busy", CONTENT, behaviour=Behaviour(queue_messages=ENDLESS))
    free = FakeSource("free", CONTENT)
    async with running(busy, free) as directory:
        finished = await downloads.fetch(directory, DIGEST, tmp_path / "f")

    assert (tmp_path / "f").read_bytes() == CONTENT
    assert finished.sources == ("free",)
    assert downloads.failures == []
    assert len(busy.waiters) == 1


def test_a_source_that_trickles_is_told_from_one_that_is_slow() -> None:
    trickling, slow = Trickle(), Trickle()

    found = [trickling.came(1, 1.0) for _ in range(60)]

    assert found == [None] * 59 + ["it sent only 60 bytes in 60 s"]
    assert not any(slow.came(100, 1.0) for _ in range(600))


def test_the_time_in_the_queue_is_not_the_source_s_slowness() -> None:
    trickle = Trickle()
    assert not any(trickle.came(1, 1.0) for _ in range(59))

    trickle.restart()

    assert trickle.came(1, 1.0) is None


def test_what_our_own_disk_takes_is_not_the_source_s_slowness() -> None:
    trickle = Trickle()

    assert not any(trickle.came(1, 0.0) for _ in range(1_000))
