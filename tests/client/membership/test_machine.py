"""The machine as a table: what happens, and what is done about it. No clock, no network."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.membership.machines import (
    NO_ANSWER,
    NOW,
    WRONG_TRANSPORT,
    catalog_of,
    granted,
    machine,
    put,
    refusal,
    registered,
    renewed,
)

from p2p_client.errors import (
    DirectoryUntrusted,
    PeerError,
)
from p2p_client.membership.events import (
    Admitted,
    Adopt,
    BatchTaken,
    Call,
    CallFailed,
    CatalogChanged,
    Command,
    Event,
    Fail,
    HeartbeatTaken,
    LeaveAsked,
    LeaveDone,
    Observe,
    SendBatch,
    SendHeartbeat,
    SendLeave,
    SendRegister,
    SessionGone,
    SetTimer,
    Started,
    Tell,
    Timer,
    TimerFired,
)
from p2p_client.membership.machine import Machine, State
from p2p_client.models import (
    Announced,
    Revision,
)


def test_a_client_only_session_registers_and_heartbeats() -> None:
    us = machine()

    assert us.handle(Started()) == [SendRegister()]
    assert us.handle(Admitted(granted())) == [Adopt(granted()), SetTimer(Timer.HEARTBEAT, 10.0)]
    assert us.handle(TimerFired(Timer.HEARTBEAT)) == [SendHeartbeat(1, Revision())]
    assert us.handle(HeartbeatTaken(1, renewed())) == [
        Observe(NOW),
        SetTimer(Timer.HEARTBEAT, 10.0),
    ]


def test_a_heartbeat_comes_early_by_the_jitter_never_late() -> None:
    us = Machine("x", None, jitter=lambda: 0.999)
    us.handle(Started())

    [_, timer] = us.handle(Admitted(granted()))

    assert isinstance(timer, SetTimer)
    assert timer.seconds == pytest.approx(9.0, abs=0.01)


def test_retries_are_doubled_up_to_eight_seconds() -> None:
    us = machine()
    us.handle(Started())
    pauses = []
    for _ in range(8):
        [timer] = us.handle(CallFailed(Call.REGISTER, NO_ANSWER))
        assert isinstance(timer, SetTimer)
        pauses.append(timer.seconds)
        assert us.handle(TimerFired(Timer.REGISTER)) == [SendRegister()]

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 4.0], "half of it is jitter, here 0"


def test_a_directory_that_comes_back_hears_us_well_within_a_lease() -> None:
    us = Machine("x", None, jitter=lambda: 0.999)
    us.handle(Started())
    us.handle(Admitted(replace(granted(), renewed=replace(renewed(), lease_seconds=6.0))))
    pauses = []
    for _ in range(10):
        us.handle(TimerFired(Timer.HEARTBEAT))
        commands = us.handle(CallFailed(Call.HEARTBEAT, NO_ANSWER, 1))
        [timer] = [command for command in commands if isinstance(command, SetTimer)]
        pauses.append(timer.seconds)

    assert max(pauses) <= 2.0


def test_an_outage_is_told_once_and_its_end_once() -> None:
    us = registered()
    told: list[Command] = []
    for _ in range(5):
        us.handle(TimerFired(Timer.HEARTBEAT))
        told += us.handle(CallFailed(Call.HEARTBEAT, NO_ANSWER, 1))
    us.handle(TimerFired(Timer.HEARTBEAT))
    told += us.handle(HeartbeatTaken(1, renewed()))

    texts = [command.text for command in told if isinstance(command, Tell)]
    assert texts == [f"{NO_ANSWER}; retrying, transfers go on", "the directory x is back"]
    assert us.state is State.REGISTERED


def test_an_outage_that_ends_with_a_forgotten_session_is_over_when_admitted() -> None:
    us = registered()
    us.handle(TimerFired(Timer.HEARTBEAT))
    us.handle(CallFailed(Call.HEARTBEAT, NO_ANSWER, 1))
    us.handle(TimerFired(Timer.HEARTBEAT))

    assert us.handle(CallFailed(Call.HEARTBEAT, refusal("SESSION_UNKNOWN"), 1)) == [SendRegister()]
    assert Tell("the directory x is back") in us.handle(Admitted(granted()))


def test_a_session_lost_again_and_again_is_opened_ever_slower() -> None:
    us = registered()

    assert us.handle(SessionGone(1)) == [SendRegister()]
    us.handle(Admitted(granted()))
    [first] = us.handle(SessionGone(2))
    us.handle(TimerFired(Timer.REGISTER))
    us.handle(Admitted(granted()))
    [second] = us.handle(SessionGone(3))

    assert first == SetTimer(Timer.REGISTER, 0.1)
    assert second == SetTimer(Timer.REGISTER, 0.2)


def test_answers_in_an_earlier_session_are_ignored() -> None:
    us = registered(catalog_of("a"))
    us.handle(SessionGone(1))
    us.handle(Admitted(granted()))

    for late in (
        HeartbeatTaken(1, renewed(Revision("wrong", 1))),
        BatchTaken(1, Announced(Revision("wrong", 1), ())),
        CallFailed(Call.ANNOUNCE, NO_ANSWER, 1),
        SessionGone(1),
    ):
        assert us.handle(late) == []
    assert us.state is State.REGISTERED


@pytest.mark.parametrize("reason", ["INTERNAL", "OVERLOADED", "STORE_UNAVAILABLE"])
def test_a_directory_that_is_unwell_is_waited_for(reason: str) -> None:
    us = registered(catalog_of("a"))

    us.handle(CallFailed(Call.ANNOUNCE, refusal(reason), 1))

    assert us.state is State.LOST
    assert us.has_session


@pytest.mark.parametrize(
    "error",
    [
        refusal("USERNAME_TAKEN"),
        refusal("PEER_ID_TAKEN"),
        refusal("CERTIFICATE_INVALID"),
        refusal("TOO_MANY_PEERS"),
        WRONG_TRANSPORT,
        DirectoryUntrusted("another key", "a", "b"),
    ],
)
def test_what_makes_a_session_impossible_ends_it(error: PeerError) -> None:
    us = machine()
    us.handle(Started())

    assert us.handle(CallFailed(Call.REGISTER, error)) == [Fail(error)]
    assert us.handle(TimerFired(Timer.REGISTER)) == []


@pytest.mark.parametrize("error", [refusal("TOO_MANY_PEERS"), WRONG_TRANSPORT])
def test_what_stops_a_newcomer_is_waited_for_by_one_that_was_in(error: PeerError) -> None:
    us = registered()
    us.handle(SessionGone(1))

    commands = us.handle(CallFailed(Call.REGISTER, error))

    assert not any(isinstance(command, Fail) for command in commands)


def test_another_key_under_a_running_session_is_told_and_outlasted() -> None:
    us = registered()
    error = DirectoryUntrusted("another key: a is on record, b was shown", "a", "b")
    told = []

    for failure in (NO_ANSWER, error, error):
        us.handle(TimerFired(Timer.HEARTBEAT))
        commands = us.handle(CallFailed(Call.HEARTBEAT, failure, 1))
        told += [command.text for command in commands if isinstance(command, Tell)]
        assert us.has_session

    assert [str(failure) in text for failure, text in zip((NO_ANSWER, error), told, strict=True)]
    us.handle(TimerFired(Timer.HEARTBEAT))
    us.handle(HeartbeatTaken(1, renewed()))
    assert us.state is State.REGISTERED


def test_leaving_tells_the_directory_and_nothing_follows() -> None:
    us = registered(catalog_of("a"))

    assert us.handle(LeaveAsked()) == [SendLeave()]
    assert us.handle(TimerFired(Timer.HEARTBEAT)) == []
    assert us.handle(LeaveDone()) == []
    assert us.state is State.LEFT


def test_leaving_while_registering_leaves_the_session_that_comes_of_it() -> None:
    us = machine()
    us.handle(Started())

    assert us.handle(LeaveAsked()) == []
    assert us.handle(Admitted(granted())) == [SendLeave()]


def test_leaving_while_waiting_to_register_is_done_at_once() -> None:
    us = machine()
    us.handle(Started())
    us.handle(CallFailed(Call.REGISTER, NO_ANSWER))

    assert us.handle(LeaveAsked()) == []
    assert us.state is State.LEFT


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.just(Started()),
    st.sampled_from(
        [
            Admitted(granted()),
            Admitted(granted(Revision("epoch", 1))),
            CatalogChanged(),
            LeaveAsked(),
            LeaveDone(),
            *map(TimerFired, Timer),
        ]
    ),
    st.builds(HeartbeatTaken, st.integers(0, 3), st.just(renewed(Revision("epoch", 2)))),
    st.builds(BatchTaken, st.integers(0, 3), st.just(Announced(Revision("epoch", 2), ()))),
    st.builds(SessionGone, st.integers(0, 3)),
    st.builds(
        CallFailed,
        st.sampled_from(Call),
        st.sampled_from(
            [NO_ANSWER, *map(refusal, ("REVISION_MISMATCH", "SESSION_UNKNOWN", "TOO_LARGE"))]
        ),
        st.integers(0, 3),
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, max_size=40), st.booleans())
def test_every_event_is_legal_in_every_state(events: list[Event], is_sharing: bool) -> None:
    us = machine(catalog_of("a", "b") if is_sharing else None)
    for event in events:
        us.handle(event)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["ok", "lost", "gone", "unwell", "changed"]), max_size=40))
def test_a_member_never_falls_asleep(story: list[str]) -> None:
    """Whatever the directory answers, some timer or call is always under way."""
    catalog = catalog_of("a")
    us = machine(catalog)
    pending: list[Command] = us.handle(Started())
    timers: set[Timer] = set()
    for step in story:
        sent = [at for at in pending if isinstance(at, SendRegister | SendHeartbeat | SendBatch)]
        timers |= {at.timer for at in pending if isinstance(at, SetTimer)}
        assert sent or timers
        pending = []
        if step == "changed":
            put(catalog, f"{len(story)}-{catalog.revision.counter}")
            pending = us.handle(CatalogChanged())
        for command in sent:
            pending += us.handle(_reply(us, command, step))
        if not sent:
            timer = sorted(timers, key=lambda at: at.value)[0]
            timers.discard(timer)
            pending += us.handle(TimerFired(timer))
    assert us.state in (State.REGISTERING, State.REGISTERED, State.LOST)


def _reply(us: Machine, command: Command, step: str) -> Event:
    error = {
        "lost": NO_ANSWER,
        "gone": refusal("SESSION_UNKNOWN"),
        "unwell": refusal("STORE_UNAVAILABLE"),
    }.get(step)
    match command:
        case SendHeartbeat(session):
            ok: Event = HeartbeatTaken(session, renewed())
            call = Call.HEARTBEAT
        case SendBatch(session, batch):
            ok = BatchTaken(session, Announced(batch.revision, ()))
            call = Call.ANNOUNCE
        case _:
            session, ok, call = 0, Admitted(granted()), Call.REGISTER
    return ok if error is None else CallFailed(call, error, session)
