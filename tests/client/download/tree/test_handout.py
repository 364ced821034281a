"""Who is asked for what: nothing twice at once, nothing lost, whatever sources do."""

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_client.download.tree.lanes.handout import Call, Handout
from p2p_client.models import PeerId

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")
MIB = 1 << 20


def bring(handout: Handout, call: Call, count: int, now: float) -> None:
    for _ in range(count):
        handout.done(handout.came(call, now))


def test_all_of_it_is_asked_of_the_only_source() -> None:
    handout = Handout([10] * 100, MIB)
    handout.offer(A, range(100))

    call = handout.take(A, 0.0)

    assert call is not None
    assert call.contents == list(range(100))


def test_a_call_is_bounded_by_bytes() -> None:
    handout = Handout([MIB // 2] * 5, MIB)
    handout.offer(A, range(5))

    call = handout.take(A, 0.0)

    assert call is not None
    assert call.contents == [0, 1]


def test_two_sources_get_different_contents() -> None:
    handout = Handout([1] * 1_000, MIB)
    handout.offer(A, range(1_000))
    handout.offer(B, range(1_000))

    calls = handout.take(A, 0.0), handout.take(B, 0.0)

    assert all(calls)
    first, second = (set(call.contents) for call in calls if call)
    assert not first & second


def test_what_a_source_refused_goes_to_the_other_and_never_back() -> None:
    handout = Handout([1], MIB)
    handout.offer(A, [0])
    handout.offer(B, [0])
    call = handout.take(A, 0.0)
    assert call is not None

    handout.refused(handout.came(call, 0.1), A)
    handout.closed(call)

    assert handout.take(A, 0.2) is None
    other = handout.take(B, 0.2)
    assert other is not None
    assert other.contents == [0]


def test_an_idle_source_takes_over_half_of_what_a_slow_one_is_still_to_bring() -> None:
    handout = Handout([1] * 100, MIB)
    handout.offer(A, range(100))
    slow = handout.take(A, 0.0)
    assert slow is not None
    handout.offer(B, range(100))
    bring(handout, slow, 10, 1.0)

    stolen = handout.take(B, 1.0)

    assert stolen is not None
    assert stolen.contents == list(range(55, 100))
    assert slow.stop == 55


def test_a_source_gone_silent_is_left_and_all_of_it_is_taken() -> None:
    handout = Handout([1] * 10, MIB)
    handout.offer(A, range(10))
    silent = handout.take(A, 0.0)
    assert silent is not None
    handout.offer(B, range(10))
    bring(handout, silent, 3, 0.1)

    stolen = handout.take(B, 5.0)

    assert stolen is not None
    assert stolen.contents == list(range(3, 10))
    assert handout.abandoned() == [silent]


def test_what_would_soon_be_there_is_left_to_its_source() -> None:
    handout = Handout([1] * 10, MIB)
    handout.offer(A, range(10))
    fast = handout.take(A, 0.0)
    assert fast is not None
    handout.offer(B, range(10))
    bring(handout, fast, 9, 0.1)

    assert handout.take(B, 0.1) is None


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_happens_each_content_is_done_once_or_free_in_the_end(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 40))
    handout = Handout([data.draw(st.integers(1, MIB)) for _ in range(count)], MIB)
    offered = {
        source: data.draw(st.sets(st.integers(0, count - 1))) if count else set()
        for source in (A, B, C)
    }
    for source, contents in offered.items():
        handout.offer(source, sorted(contents))
    done: list[int] = []
    refused: set[tuple[int, PeerId]] = set()
    calls: list[Call] = []
    now = 0.0
    for _ in range(data.draw(st.integers(0, 120))):
        now += data.draw(st.sampled_from([0.0, 0.1, 3.0]))
        action = data.draw(st.sampled_from(["take", "came", "refuse", "close"]))
        if action == "take":
            source = data.draw(st.sampled_from([A, B, C]))
            call = handout.take(source, now)
            if call is not None:
                assert set(call.contents) <= offered[source]
                assert not {(content, source) for content in call.contents} & refused
                calls.append(call)
        elif calls:
            call = data.draw(st.sampled_from(calls))
            if action == "close" or call.is_done or call.is_abandoned:
                handout.closed(call)
                calls.remove(call)
            elif action == "came":
                content = handout.came(call, now)
                handout.done(content)
                done.append(content)
            else:
                content = handout.came(call, now)
                handout.refused(content, call.source)
                refused.add((content, call.source))
        asked = [content for call in calls for content in call.contents[call.came : call.stop]]
        assert len(asked) == len(set(asked))
        assert not set(asked) & set(done)
    for call in calls:
        handout.closed(call)

    assert len(done) == len(set(done))
    assert sorted(done + handout.free()) == list(range(count))
    assert handout.is_complete == (len(done) == count)
    assert handout.is_at_rest
