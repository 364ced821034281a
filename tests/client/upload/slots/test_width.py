"""How many streams run at a limit: few, and more where their readers are slow."""

from p2p_client.upload.slots.width import FEWEST, LOOK_SECONDS, Width


def test_without_a_limit_all_slots_are_used_and_with_one_few() -> None:
    assert Width(64, None).streams == 64
    assert Width(64, 25e6).streams == 3
    assert Width(64, 1e3).streams == FEWEST
    assert Width(64, 100e9).streams == 64
    assert Width(1, 25e6).streams == 1


def test_more_streams_run_where_readers_are_too_slow_for_the_rate() -> None:
    width, now = Width(64, 25e6), 0.0
    for _ in range(2_000):
        width.look(True, now)
        width.sent(int(width.streams * 1e6 * 0.1))
        now += 0.1
    assert 18 <= width.streams <= 26  # a megabyte a second each

    for _ in range(2_000):
        width.look(True, now)
        width.sent(int(25e6 * 0.1))
        now += 0.1
    assert width.streams == 3


def test_where_nobody_waits_the_width_does_not_grow() -> None:
    width = Width(64, 25e6)
    for step in range(100):
        width.look(False, step * LOOK_SECONDS)

    assert width.streams == 3
