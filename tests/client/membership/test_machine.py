"""The machine as a table: what happens, and what is done about it. No clock, no network."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_client.errors import (
    DirectoryRefused,
    DirectoryUnreachable,
    DirectoryUntrusted,
    PeerError,
)
from p2p_client.library.catalog import Catalog
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
    Digest,
    Granted,
    ManifestDigest,
    RejectedItem,
    Renewed,
    Resource,
    Revision,
)

NOW = datetime(2024, 1, 1, tzinfo=UTC)
NO_ANSWER = DirectoryUnreachable("the directory x does not answer")
WRONG_TRANSPORT = DirectoryUnreachable("x speaks TLS", reason="TRANSPORT_MISMATCH")


def refusal(reason: str, code: str = "ABORTED") -> DirectoryRefused:
    return DirectoryRefused(reason, code=code, reason=reason)


def renewed(held: Revision | None = None, interval_seconds: float = 10.0) -> Renewed:
    return Renewed(30.0, interval_seconds, NOW, held or Revision(), ())


def granted(held: Revision | None = None) -> Granted:
    return Granted("f" * 64, b"key", "192.0.2.1", 5_000, 1 << 20, renewed(held))


def catalog_of(*paths: str) -> Catalog:
    catalog = Catalog("epoch")
    for path in paths:
        put(catalog, path)
    catalog.settled = True
    return catalog


def put(catalog: Catalog, path: str) -> None:
    catalog.put(Resource(path, 1, Digest("d" * 64), ManifestDigest("e" * 64), NOW))


def machine(catalog: Catalog | None = None) -> Machine:
    return Machine("x", catalog, jitter=lambda: 0.0)


def registered(catalog: Catalog | None = None, held: Revision | None = None) -> Machine:
    us = machine(catalog)
    us.handle(Started())
    us.handle(Admitted(granted(held)))
    return us


def batch_in(commands: list[Command]) -> SendBatch:
    [found] = [command for command in commands if isinstance(command, SendBatch)]
    return found


def answer(us: Machine, commands: list[Command]) -> list[Command]:
    """The directory takes the batch among these commands."""
    batch = batch_in(commands).batch
    held = batch.revision if batch.last or not batch.snapshot_id else Revision()
    return us.handle(BatchTaken(us.session, Announced(held, ())))


def test_a_client_only_session_registers_and_heartbeats() -> None:
    us = machine()

    assert us.handle(Started()) == [SendRegister()]
    assert us.handle(Admitted(granted())) == [Adopt(granted()), SetTimer(Timer.HEARTBEAT, 10.0)]
    assert us.handle(TimerFired(Timer.HEARTBEAT)) == [SendHeartbeat(1, Revision())]
    assert us.handle(HeartbeatTaken(1, renewed())) == [
        Observe(NOW),
        SetTimer(Timer.HEARTBEAT, 10.0),
    ]


def test_a_sharer_announces_as_soon_as_it_is_admitted() -> None:
    catalog = catalog_of("a")
    us = machine(catalog)
    us.handle(Started())

    commands = us.handle(Admitted(granted()))

    assert batch_in(commands).batch.snapshot_id
    assert commands.index(Adopt(granted())) < commands.index(batch_in(commands))
    assert answer(us, commands) == []
    assert us.announcing is not None
    assert us.announcing.holds(catalog.revision)


def test_what_the_directory_still_holds_is_not_announced_again() -> None:
    catalog = catalog_of("a")
    us = registered(catalog)
    us.handle(BatchTaken(1, Announced(catalog.revision, ())))

    us.handle(CallFailed(Call.HEARTBEAT, refusal("SESSION_UNKNOWN"), 1))
    commands = us.handle(Admitted(granted(catalog.revision)))

    assert not any(isinstance(command, SendBatch) for command in commands)


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


def test_what_a_heartbeat_says_of_a_batch_under_way_does_not_count() -> None:
    catalog = catalog_of("a")
    us = registered(catalog)
    us.handle(TimerFired(Timer.HEARTBEAT))
    us.handle(BatchTaken(1, Announced(catalog.revision, ())))

    us.handle(HeartbeatTaken(1, renewed(Revision())))

    assert us.announcing is not None
    assert us.announcing.holds(catalog.revision), "the heartbeat was answered before the batch"


def test_a_difference_seen_in_a_heartbeat_is_announced() -> None:
    catalog = catalog_of("a")
    us = registered(catalog)
    us.handle(BatchTaken(1, Announced(catalog.revision, ())))
    us.handle(TimerFired(Timer.HEARTBEAT))

    commands = us.handle(HeartbeatTaken(1, renewed(Revision())))

    assert batch_in(commands).batch.snapshot_id


def test_changes_close_together_travel_together() -> None:
    catalog = catalog_of("a")
    us = registered(catalog)
    us.handle(BatchTaken(1, Announced(catalog.revision, ())))
    commands: list[Command] = []
    for path in "bcd":
        put(catalog, path)
        commands += us.handle(CatalogChanged())

    assert commands == [SetTimer(Timer.ANNOUNCE, 0.1)], "and steady changes do not put it off"
    batch = batch_in(us.handle(TimerFired(Timer.ANNOUNCE))).batch
    assert [item.path for item in batch.resources] == ["b", "c", "d"]


def test_a_change_while_a_batch_is_under_way_follows_it() -> None:
    catalog = catalog_of("a")
    us = machine(catalog)
    us.handle(Started())
    commands = us.handle(Admitted(granted()))
    put(catalog, "b")

    assert us.handle(CatalogChanged()) == []
    assert answer(us, commands) == [SetTimer(Timer.ANNOUNCE, 0.1)]
    assert batch_in(us.handle(TimerFired(Timer.ANNOUNCE))).batch.base is not None


def test_a_mismatch_gets_a_snapshot_at_once_the_second_one_later() -> None:
    us = registered(catalog_of("a"))
    mismatch = CallFailed(Call.ANNOUNCE, refusal("REVISION_MISMATCH"), 1)

    assert batch_in(us.handle(mismatch)).batch.snapshot_id
    assert us.handle(mismatch) == [SetTimer(Timer.ANNOUNCE, 0.2)]
    assert batch_in(us.handle(TimerFired(Timer.ANNOUNCE))).batch.batch_index == 0


def test_a_directory_that_takes_everything_and_holds_nothing_is_not_flooded() -> None:
    us = registered(catalog_of("a"))
    sent = 1
    for _ in range(10):
        for command in us.handle(BatchTaken(1, Announced(Revision(), ()))):
            sent += isinstance(command, SendBatch)

    assert sent == 2


def test_an_interrupted_snapshot_goes_on_where_it_was() -> None:
    catalog = catalog_of(*(f"{n}" for n in range(12_000)))
    us = machine(catalog)
    us.handle(Started())
    first = us.handle(Admitted(granted()))
    second = batch_in(answer(us, first))
    us.handle(CallFailed(Call.ANNOUNCE, NO_ANSWER, 1))

    us.handle(TimerFired(Timer.HEARTBEAT))
    again = batch_in(us.handle(HeartbeatTaken(1, renewed())))

    assert second.batch == again.batch
    assert second.batch.batch_index == 1


def test_a_library_that_is_still_finding_itself_is_given_two_seconds() -> None:
    catalog = Catalog("epoch")
    us = machine(catalog)
    us.handle(Started())
    commands = us.handle(Admitted(granted(Revision("last run", 7))))
    waited = 0.0
    while not any(isinstance(command, SendBatch) for command in commands):
        [waited_for] = [at for at in commands if at == SetTimer(Timer.ANNOUNCE, 0.1)]
        assert isinstance(waited_for, SetTimer)
        waited += waited_for.seconds
        commands = us.handle(TimerFired(Timer.ANNOUNCE))

    assert waited == pytest.approx(2.0)


def test_a_rejected_item_is_told_once() -> None:
    catalog = catalog_of("bad")
    us = registered(catalog)
    rejected = (RejectedItem("bad", "PATH_INVALID", "because"),)
    told = us.handle(BatchTaken(1, Announced(catalog.revision, rejected)))
    put(catalog, "b")
    us.handle(CatalogChanged())
    us.handle(TimerFired(Timer.ANNOUNCE))

    assert told == [Tell("the directory does not list bad (because)")]
    assert us.handle(BatchTaken(1, Announced(catalog.revision, rejected))) == []


def test_ten_thousand_rejected_items_make_one_notice() -> None:
    catalog = catalog_of("a")
    us = registered(catalog)
    rejected = tuple(RejectedItem(f"{n}", "PATH_INVALID", "no") for n in range(20_000))

    [told] = us.handle(BatchTaken(1, Announced(catalog.revision, rejected)))

    assert told == Tell("the directory does not list 0 (no); 1 (no); 2 (no) and 19997 more")
    assert us.announcing is not None
    assert len(us.announcing.rejected) == 10_000


def test_a_catalog_that_is_too_much_is_tried_again_after_a_minute() -> None:
    us = registered(catalog_of("a"))

    commands = us.handle(CallFailed(Call.ANNOUNCE, refusal("TOO_MANY_RESOURCES"), 1))

    assert [type(command) for command in commands] == [Tell, SetTimer]
    assert SetTimer(Timer.ANNOUNCE, 60.0) in commands
    assert us.state is State.REGISTERED, "what is listed stays listed"


@pytest.mark.parametrize(
    ("told", "waited"), [("7.5", 7.5), ("1e9", 60.0), ("0", 2.0), ("soon", 2.0), ("nan", 2.0)]
)
def test_who_announces_too_often_waits_as_told_within_bounds(told: str, waited: float) -> None:
    us = registered(catalog_of("a"))
    error = refusal("TOO_MANY_ANNOUNCES")
    error.facts = {"retry_after_seconds": told}

    assert us.handle(CallFailed(Call.ANNOUNCE, error, 1)) == [SetTimer(Timer.ANNOUNCE, waited)]
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
