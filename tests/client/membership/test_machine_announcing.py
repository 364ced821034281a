"""The machine as a table: what is announced when, and what is done where it is not taken."""

import pytest
from tests.client.membership.machines import (
    NO_ANSWER,
    answer,
    batch_in,
    catalog_of,
    granted,
    machine,
    put,
    refusal,
    registered,
    renewed,
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
    HeartbeatTaken,
    SendBatch,
    SetTimer,
    Started,
    Tell,
    Timer,
    TimerFired,
)
from p2p_client.membership.machine import State
from p2p_client.models import (
    Announced,
    RejectedItem,
    Revision,
)


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
