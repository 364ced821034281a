"""Every reason that a directory gives is met once over real gRPC, with its code and its domain."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import apsw
import pytest
from tests.contract.conftest import LIMITS, Served, database_locked
from tests.support.certificates import key_pair, peer_key_pair
from tests.support.raw_directory import Refusal, refusal, resource

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
