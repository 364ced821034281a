"""Every reason that a directory gives is met once over real gRPC, with its code and its domain."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import apsw
import pytest
from tests.contract.conftest import LIMITS, Served, database_locked
from tests.support.certificates import key_pair, peer_key_pair
from tests.support.directory.raw import RawDirectory, resource
from tests.support.directory.refusals import Refusal, refusal

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_server.directory.errors import DirectoryError
from p2p_server.rpc.status import InternalError

Scenario = Callable[[Served], Awaitable[Refusal]]
SCENARIOS: dict[str, Scenario] = {}


def raises(reason: str) -> Callable[[Scenario], Scenario]:
    def note(scenario: Scenario) -> Scenario:
        SCENARIOS[reason] = scenario
        return scenario

    return note


@raises("INTERNAL")
async def a_fault_of_our_own(served: Served) -> Refusal:
    alice = await served.raw.register("alice")
    other = apsw.Connection(str(served.database))
    other.execute("PRAGMA foreign_keys = OFF; DROP TABLE peers")
    other.close()

    return await refusal(alice.list_peers())


@raises("FIELD_INVALID")
async def a_malformed_name(served: Served) -> Refusal:
    return await refusal(served.raw.register("not a name"))


@raises("TOO_LARGE")
async def a_batch_over_the_limit(served: Served) -> Refusal:
    alice = await served.raw.share("alice")
    many = [f"p{i}" for i in range(LIMITS.max_announce_items + 1)]

    return await refusal(alice.announce(withdrawn=many))


@raises("OVERLOADED")
async def too_many_announces_at_once(served: Served) -> Refusal:
    alice = await served.raw.share("alice")
    refusals: asyncio.Queue[Refusal] = asyncio.Queue()

    async def announce() -> None:
        with contextlib.suppress(AssertionError):  # one that has its turn is not refused
            await refusals.put(await refusal(alice.announce(resource("a.txt"))))

    async with asyncio.TaskGroup() as announces:
        with database_locked(served.database):
            for _ in range(5):
                announces.create_task(announce())
            return await refusals.get()


@raises("SHUTTING_DOWN")
async def a_directory_that_stops(served: Served) -> Refusal:
    served.running.server.close()

    return await refusal(served.raw.info())


@raises("STORE_UNAVAILABLE")
async def a_database_that_takes_no_changes(served: Served) -> Refusal:
    request = await served.raw.register_request("alice", peer_key_pair())
    with database_locked(served.database):
        return await refusal(served.raw.send_register(request))


@raises("CHALLENGE_INVALID")
async def an_invented_challenge(served: Served) -> Refusal:
    return await refusal(served.raw.register("alice", challenge=b"x" * 56))


@raises("PROOF_INVALID")
async def a_proof_of_nothing(served: Served) -> Refusal:
    request = await served.raw.register_request("alice", peer_key_pair())
    request.proof = b"0"

    return await refusal(served.raw.send_register(request))


@raises("CERTIFICATE_INVALID")
async def a_certificate_with_another_name(served: Served) -> Refusal:
    return await refusal(served.raw.register("alice", key_pair("somebody.example")))


@raises("USERNAME_TAKEN")
async def another_key_for_a_name(served: Served) -> Refusal:
    await served.raw.register("alice")

    return await refusal(served.raw.register("ALICE"))


@raises("PEER_ID_TAKEN")
async def another_user_s_peer_id(served: Served) -> Refusal:
    alice = await served.raw.register("alice")

    return await refusal(served.raw.register("bob", peer_id=alice.peer_id))


@raises("SESSION_MISSING")
async def a_call_without_a_token(served: Served) -> Refusal:
    return await refusal(served.raw.stub.Query(pb.QueryRequest(), timeout=5))


@raises("SESSION_UNKNOWN")
async def an_invented_token(served: Served) -> Refusal:
    alice = await served.raw.register("alice")

    return await refusal(alice.call("Heartbeat", pb.HeartbeatRequest(), token="x" * 43))


@raises("TOO_MANY_PEERS")
async def one_peer_too_many(served: Served) -> Refusal:
    pair = peer_key_pair()
    for _ in range(LIMITS.max_peers_per_user):
        await served.raw.register("alice", pair)

    return await refusal(served.raw.register("alice", pair))


@raises("REVISION_MISMATCH")
async def a_delta_to_nothing(served: Served) -> Refusal:
    alice = await served.raw.share("alice")
    request = pb.AnnounceRequest(
        base=types.Revision(epoch="e", counter=4), revision=types.Revision(epoch="e", counter=5)
    )

    return await refusal(alice.send_announce(request))


@raises("TOO_MANY_RESOURCES")
async def a_resource_too_many(served: Served) -> Refusal:
    alice = await served.raw.share("alice")
    many = [resource(f"{i}.txt") for i in range(LIMITS.max_resources_per_user + 1)]

    return await refusal(alice.announce(*many))


@raises("PEER_UNLISTED")
async def an_announce_of_a_client_only_session(served: Served) -> Refusal:
    alice = await served.raw.register("alice")

    return await refusal(alice.announce(resource("a.txt")))


@raises("PAGE_TOKEN_INVALID")
async def an_invented_page_token(served: Served) -> Refusal:
    alice = await served.raw.register("alice")

    return await refusal(alice.query(page_token="AAAA"))


@raises("TOO_MANY_ANNOUNCES")
async def announcing_without_a_pause(served: Served) -> Refusal:
    alice = await served.raw.share("alice")
    for number in range(LIMITS.max_announces_per_minute):
        await alice.announce(resource(f"{number % 10}.txt", content=str(number)))

    return await refusal(alice.announce())


@raises("TOO_MANY_SESSIONS")
async def one_session_too_many_from_an_address(served: Served) -> Refusal:
    for number in range(LIMITS.max_sessions_per_address):
        await served.raw.register(f"user{number}")

    return await refusal(served.raw.register("one-more"))


@raises("TOO_MANY_WATCHERS")
async def one_watch_too_many(served: Served) -> Refusal:
    alice = await served.raw.register("alice")
    watches = [alice.watch() for _ in range(LIMITS.max_watchers_per_user)]
    for watch in watches:
        await watch.next_response()

    return await refusal(alice.watch().next_response())


@raises("RESUME_TOKEN_INVALID")
async def an_invented_resume_token(served: Served) -> Refusal:
    alice = await served.raw.register("alice")

    return await refusal(alice.watch(resume_token="AAAA").next_response())


@raises("WATCH_TOO_SLOW")
async def a_watcher_that_reads_nothing_while_much_happens(served: Served) -> Refusal:
    alice, bob = await served.raw.share("alice"), await served.raw.register("bob")
    target, pem = f"127.0.0.1:{served.running.listen.port}", served.raw.certificate_pem
    bob.directory = RawDirectory(target, pem, small_window=True)
    watch = bob.watch()
    await watch.until("CAUGHT_UP")
    served.running.directory.feed.log.most_held = 100  # instead of minutes of announcing
    deep = "/".join(["x" * 250] * 3)

    async def announce_and_look() -> Refusal:
        for number in range(LIMITS.max_announces_per_minute):
            many = [resource(f"{i}/{deep}", f"{number}-{i}") for i in range(50)]
            await alice.announce(*many)
        while True:
            await watch.next_response()

    try:
        return await refusal(announce_and_look())
    finally:
        await bob.directory.channel.close()


def reasons_of_a_directory() -> dict[str, str]:
    own: list[type[DirectoryError]] = [InternalError, *DirectoryError.__subclasses__()]
    return {error.reason: error.code for error in own}


def test_every_reason_has_a_scenario() -> None:
    assert set(SCENARIOS) == set(reasons_of_a_directory())


def test_every_reason_is_one_of_the_contract() -> None:
    wire = {name.removeprefix("ERROR_REASON_") for name, _ in types.ErrorReason.items()}

    assert set(reasons_of_a_directory()) <= wire


@pytest.mark.parametrize(
    "reason",
    [pytest.param(r, marks=[pytest.mark.slow] * (r == "STORE_UNAVAILABLE")) for r in SCENARIOS],
)
async def test_a_refusal_has_its_code_and_reason(served: Served, reason: str) -> None:
    refused = await SCENARIOS[reason](served)

    assert refused.why == (reasons_of_a_directory()[reason], reason)
    assert refused.domain == "p2p.v1"


@pytest.mark.parametrize(
    ("reason", "facts"),
    [
        ("FIELD_INVALID", {"field": "user"}),
        ("TOO_LARGE", {"limit": "5000"}),
        ("TOO_MANY_PEERS", {"limit": "3"}),
        ("TOO_MANY_RESOURCES", {"limit": "50"}),
        ("TOO_MANY_WATCHERS", {"limit": "2"}),
        ("TOO_MANY_SESSIONS", {"limit": "60"}),
        ("REVISION_MISMATCH", {"held_epoch": "", "held_counter": "0"}),
    ],
)
async def test_a_refusal_tells_programs_what_holds(
    served: Served, reason: str, facts: dict[str, str]
) -> None:
    refused = await SCENARIOS[reason](served)

    assert refused.facts == facts


async def test_a_fault_of_our_own_tells_nothing_from_inside(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    refused = await SCENARIOS["INTERNAL"](served)

    assert refused.message == "an internal error of the directory; its log has the details"
    assert "peers" not in refused.message
    assert any(record.exc_info for record in caplog.records), "the log has no traceback"
