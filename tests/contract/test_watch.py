"""Watch over real gRPC: what is there, what changes, and what comes after a cut."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.conftest import Served
from tests.support.directory.raw import RawDirectory, RawSession, resource
from tests.support.directory.refusals import refusal
from tests.support.directory.running import directory_running

from p2p.v1 import directory_pb2 as pb
from p2p_server.directory.models import Limits


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with directory_running(tmp_path) as (running, raw):
        yield Served(running, raw, tmp_path / "directory.db")


async def beat(session: RawSession) -> None:
    while True:
        await session.heartbeat()
        await asyncio.sleep(0.2)


async def test_a_watch_begins_with_what_is_there(served: Served) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(resource("a.txt"), resource("b.txt"))
    bob = await served.raw.register("bob")

    told = await bob.watch().until("caught_up")

    assert told == ["peer_came alice", "appeared alice a.txt", "appeared alice b.txt", "caught_up"]


async def test_a_watch_from_now_on_tells_only_what_changes(served: Served) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(resource("a.txt"))
    watch = (await served.raw.register("bob")).watch(only_new=True)
    assert await watch.until("caught_up") == ["caught_up"]

    await alice.announce(resource("b.txt"))

    assert await watch.until("appeared alice b.txt") == ["appeared alice b.txt"]


async def test_a_resource_appears_changes_and_is_gone(served: Served) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(resource("a.txt", "one"))
    watch = (await served.raw.register("bob")).watch(only_new=True)
    await watch.until("caught_up")

    await alice.announce(resource("b.txt", "one"))
    await alice.announce(resource("b.txt", "two"))
    await alice.announce(withdrawn=["b.txt"])

    assert await watch.until("gone alice b.txt") == [
        "appeared alice b.txt",
        "changed alice b.txt",
        "gone alice b.txt",
    ]


async def test_what_is_announced_again_as_it_was_is_no_event(served: Served) -> None:
    alice = await served.raw.share("alice")
    same = resource("a.txt")
    await alice.announce(same)
    watch = (await served.raw.register("bob")).watch(only_new=True)
    await watch.until("caught_up")

    await alice.announce(same)
    await alice.announce(resource("b.txt"))

    assert await watch.until("appeared alice b.txt") == ["appeared alice b.txt"]


async def test_a_watch_tells_what_fits_its_query(served: Served) -> None:
    alice = await served.raw.share("alice")
    bob = await served.raw.share("bob")
    query = pb.QueryRequest(text="sun", owner="alice")
    watch = (await served.raw.register("carol")).watch(query=query)
    await watch.until("caught_up")

    await bob.announce(resource("bob/sunset.jpg"))
    await alice.announce(resource("moon.jpg"), resource("SUNRISE.jpg"))
    await bob.leave()
    await alice.leave()

    assert await watch.until("peer_left alice") == [
        "appeared alice SUNRISE.jpg",
        "gone alice SUNRISE.jpg",
        "peer_left alice",
    ]


async def test_a_change_may_bring_a_resource_in_and_out_of_sight(served: Served) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(resource("a.bin", size_bytes=10))
    query = pb.QueryRequest(min_size_bytes=100)
    watch = (await served.raw.register("bob")).watch(query=query, without_peers=True)
    assert await watch.until("caught_up") == ["caught_up"]

    await alice.announce(resource("a.bin", size_bytes=1000))
    await alice.announce(resource("a.bin", size_bytes=2000))
    await alice.announce(resource("a.bin", size_bytes=10))

    assert await watch.until("gone alice a.bin") == [
        "appeared alice a.bin",
        "changed alice a.bin",
        "gone alice a.bin",
    ]


async def test_a_peer_that_goes_takes_its_resources_along_and_brings_them_back(
    served: Served,
) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(resource("a.txt"))
    watch = (await served.raw.register("bob")).watch(only_new=True)
    await watch.until("caught_up")

    await alice.leave()
    gone = await watch.until("peer_left alice")
    await served.raw.share("alice", alice.pair, peer_id=alice.peer_id)

    assert gone == ["gone alice a.txt", "peer_left alice"]
    assert await watch.until("appeared alice a.txt") == ["peer_came alice", "appeared alice a.txt"]


async def test_an_expired_peer_is_gone_with_what_it_shared(tmp_path: Path) -> None:
    async with directory_running(tmp_path, lease_seconds=1.0) as (_, raw):
        alice = await raw.share("alice")
        await alice.announce(resource("a.txt"))
        bob = await raw.register("bob")
        watch = bob.watch()
        await watch.until("caught_up")

        async with asyncio.TaskGroup() as tasks:
            heart = tasks.create_task(beat(bob))
            told = await watch.until("peer_left alice")
            heart.cancel()

    assert told == ["gone alice a.txt", "peer_left alice"]


async def test_a_snapshot_tells_what_differs(served: Served) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(resource("a.txt"), resource("b.txt"), resource("c.txt"))
    watch = (await served.raw.register("bob")).watch(only_new=True)
    await watch.until("caught_up")

    alice.counter, alice.epoch, alice.snapshot_id = 0, "e2", "s2"
    await alice.announce(resource("b.txt"), resource("c.txt", "new"), resource("d.txt"))

    assert await watch.until("appeared alice d.txt") == [
        "gone alice a.txt",
        "changed alice b.txt",  # its time of change
        "changed alice c.txt",
        "appeared alice d.txt",
    ]


async def test_a_watch_resumes_without_a_gap(served: Served) -> None:
    alice = await served.raw.share("alice")
    bob = await served.raw.register("bob")
    watch = bob.watch()
    await watch.until("caught_up")
    await alice.announce(resource("a.txt"))
    await watch.until("appeared alice a.txt")
    watch.cancel()

    await alice.announce(resource("b.txt"))
    await alice.announce(withdrawn=["a.txt"])
    again = bob.watch(resume_token=watch.resume_token)

    assert await again.until("gone alice a.txt") == ["appeared alice b.txt", "gone alice a.txt"]


async def test_a_watch_cut_while_the_beginning_is_told_goes_on_there(served: Served) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(*(resource(f"{i:03}.txt") for i in range(600)))
    bob = await served.raw.register("bob")
    watch = bob.watch(without_peers=True)
    first = await watch.next_response()
    watch.cancel()

    again = bob.watch(without_peers=True, resume_token=watch.resume_token)
    rest = await again.until("caught_up")

    assert 0 < len(first.events) < 600
    assert rest[0] == f"appeared alice {len(first.events):03}.txt"
    assert len(first.events) + len(rest) == 601


async def test_a_token_that_is_too_old_starts_anew_and_says_so(served: Served) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(resource("a.txt"))
    bob = await served.raw.register("bob")
    watch = bob.watch(without_peers=True)
    await watch.until("caught_up")
    watch.cancel()
    served.running.directory.feed.lose()

    again = bob.watch(without_peers=True, resume_token=watch.resume_token)

    assert await again.until("caught_up") == ["started_anew", "appeared alice a.txt", "caught_up"]


async def test_a_watch_that_runs_starts_anew_when_changes_are_lost(served: Served) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(resource("a.txt"))
    watch = (await served.raw.register("bob")).watch(without_peers=True)
    await watch.until("caught_up")

    served.running.directory.feed.lose()
    told = await watch.until("caught_up")
    await alice.announce(resource("b.txt"))

    assert told == ["started_anew", "appeared alice a.txt", "caught_up"]
    await watch.until("appeared alice b.txt")


@pytest.mark.parametrize("field", ["query", "only_new", "without_peers"])
async def test_a_resume_token_is_for_its_own_watch_alone(served: Served, field: str) -> None:
    bob = await served.raw.register("bob")
    watch = bob.watch()
    await watch.until("caught_up")
    other = {"query": pb.QueryRequest(text="x"), "only_new": True, "without_peers": True}

    refused = await refusal(
        bob.watch(resume_token=watch.resume_token, **{field: other[field]}).next_response()
    )

    assert refused.reason == "RESUME_TOKEN_INVALID"


async def test_no_bit_of_a_resume_token_may_change(served: Served) -> None:
    bob = await served.raw.register("bob")
    watch = bob.watch()
    await watch.until("caught_up")
    token = watch.resume_token

    for at in range(0, len(token), 7):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        refused = await refusal(bob.watch(resume_token=changed).next_response())
        assert refused.reason == "RESUME_TOKEN_INVALID"


async def test_a_watch_ends_with_its_session(served: Served) -> None:
    bob = await served.raw.register("bob")
    watch = bob.watch()
    await watch.until("caught_up")

    await bob.leave()

    assert (await refusal(watch.next_response())).reason == "SESSION_UNKNOWN"


async def test_a_stop_ends_open_watches_at_once(served: Served) -> None:
    watch = (await served.raw.register("bob")).watch()
    await watch.until("caught_up")

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(served.running.server.stop(60))
        refused = await refusal(watch.next_response())

    assert refused.why == ("UNAVAILABLE", "SHUTTING_DOWN")


@pytest.mark.slow
async def test_a_thousand_watchers_of_which_one_never_reads(tmp_path: Path) -> None:
    limits = Limits(max_watchers_per_user=1_000, max_announces_per_minute=0)
    async with directory_running(tmp_path, limits=limits) as (running, raw):
        alice, bob = await raw.share("alice"), await raw.register("bob")
        port = running.listen.port
        watches = []
        others = [RawDirectory(f"127.0.0.1:{port}", raw.certificate_pem) for _ in range(9)]
        for number in range(1_000):
            channel = (raw, *others)[number % 10]
            bob.directory = channel
            watches.append(bob.watch(without_peers=True))
        idle, *reading = watches

        await asyncio.gather(*(watch.until("caught_up") for watch in reading))
        await alice.announce(*(resource(f"{i}.txt") for i in range(20)))
        await asyncio.gather(*(watch.until("appeared alice 19.txt") for watch in reading))

        assert len(running.directory.feed) == 1_000
        assert running.directory.feed.log.weight < 1_000
        idle.cancel()
        for channel in others:
            await channel.channel.close()
