"""Small files first, each once, and the restless ones after ever longer pauses."""

from hypothesis import given
from hypothesis import strategies as st

from p2p_client.library.shelf.queue import (
    CALM_SECONDS,
    FIRST_PAUSE_SECONDS,
    LARGE_BYTES,
    LONGEST_PAUSE_SECONDS,
    HashQueue,
    Lane,
)


def test_each_lane_gets_its_own_smallest_first() -> None:
    queue = HashQueue()
    sizes = {"huge": 1 << 40, "tiny": 0, "large": LARGE_BYTES, "small": LARGE_BYTES - 1}
    for path, size_bytes in sizes.items():
        queue.push(path, size_bytes, now=0)

    assert queue.take(0, Lane.LARGE, 1) == ["large"]
    assert queue.take(0, Lane.SMALL, 9) == ["tiny", "small"]
    assert queue.take(0, Lane.SMALL, 9) == []
    assert queue.seconds_to_next(0, Lane.SMALL) is None
    assert queue.seconds_to_next(0, Lane.LARGE) == 0
    assert queue.take(0, Lane.LARGE, 1) == ["huge"]


def test_a_file_pushed_while_it_is_hashed_is_asked_for_again_when_finished() -> None:
    queue = HashQueue()
    queue.push("a", 1, now=0)
    queue.take(0, Lane.SMALL, 1)
    queue.push("a", 1, now=0)

    assert queue.take(0, Lane.SMALL, 1) == []
    assert queue.finish("a") is True
    assert "a" not in queue


def test_a_dropped_file_is_not_taken_and_can_come_back() -> None:
    queue = HashQueue()
    queue.push("a", 1, now=0)
    queue.drop("a")
    assert queue.take(0, Lane.SMALL, 1) == []

    queue.push("a", 1, now=0)
    assert queue.take(0, Lane.SMALL, 9) == ["a"]
    queue.finish("a")
    assert queue.take(0, Lane.SMALL, 9) == []


def test_a_file_that_keeps_changing_is_left_longer_and_longer_but_not_for_ever() -> None:
    queue, now, pauses = HashQueue(), 0.0, []
    for _ in range(14):
        queue.push("log", 1, now, again=True)
        pause = queue.seconds_to_next(now, Lane.SMALL)
        assert pause is not None
        pauses.append(pause)
        now += pause
        assert queue.take(now, Lane.SMALL, 1) == ["log"]
        queue.finish("log")

    assert pauses[:4] == [0, FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_a_file_that_was_calm_for_a_while_is_hashed_at_once_again() -> None:
    queue = HashQueue()
    for now in (0.0, 1.0, 1.0 + CALM_SECONDS * 3):
        queue.push("a", 1, now, again=True)
        pause = queue.seconds_to_next(now, Lane.SMALL)
        assert pause is not None
        assert queue.take(now + pause, Lane.SMALL, 1) == ["a"]
        queue.finish("a")

    assert pause == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["push", "again", "drop", "take", "finish"]), st.integers(0, 4))
    )
)
def test_a_path_is_never_taken_twice_and_what_was_pushed_last_is_served_in_the_end(
    steps: list[tuple[str, int]],
) -> None:
    queue, taken, wanted, now = HashQueue(), set[str](), set[str](), 0.0
    for action, number in steps:
        path, now = str(number), now + 0.1
        if action in ("push", "again"):
            queue.push(path, number, now, again=action == "again")
            wanted.add(path)
        elif action == "drop":
            queue.drop(path)
            wanted.discard(path)
        elif action == "take":
            batch = queue.take(now, Lane.SMALL, 2)
            assert not taken & set(batch)
            assert set(batch) <= wanted
            taken |= set(batch)
            wanted -= set(batch)
        elif path in taken:
            taken.discard(path)
            assert queue.finish(path) is (path in wanted)
            wanted.discard(path)

    for path in taken:
        queue.finish(path)
    now += 10 * LONGEST_PAUSE_SECONDS
    left = set[str]()
    while batch := queue.take(now, Lane.SMALL, 2):
        left |= set(batch)
    assert left == wanted - taken
