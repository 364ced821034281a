"""A session is good from Register to its end, for its own peer, and for nothing else."""

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from tests.contract.conftest import Served
from tests.support.certificates import peer_key_pair
from tests.support.directory.raw import RawSession, resource
from tests.support.directory.refusals import refusal
from tests.support.directory.running import directory_running

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_server.directory.models import Limits

MISSING = ("UNAUTHENTICATED", "SESSION_MISSING")
UNKNOWN = ("UNAUTHENTICATED", "SESSION_UNKNOWN")

CALLS: dict[str, Any] = {
    "Heartbeat": pb.HeartbeatRequest(),
    "Leave": pb.LeaveRequest(),
    "Announce": pb.AnnounceRequest(
        revision=types.Revision(epoch="e", counter=1),
        snapshot=pb.Snapshot(snapshot_id="s", last=True),
    ),
    "Query": pb.QueryRequest(),
    "ListPeers": pb.ListPeersRequest(),
    "Locate": pb.LocateRequest(digests=["0" * 64]),
}


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ((), MISSING),
        ((("authorization", ""),), MISSING),
        ((("authorization", "Basic abc"),), MISSING),
        ((("authorization", "Bearer "),), MISSING),
        ((("authorization", "Bearer " + "x" * 43),), UNKNOWN),
    ],
    ids=["nothing", "empty", "another scheme", "no token", "an invented one"],
)
async def test_no_call_is_answered_without_a_session(
    served: Served, method: str, metadata: Any, why: tuple[str, str]
) -> None:
    rpc = getattr(served.raw.stub, method)

    assert (await refusal(rpc(CALLS[method], metadata=metadata, timeout=5))).why == why


async def ended_by_leave(served: Served) -> RawSession:
    alice = await served.raw.share("alice")
    await alice.leave()
    return alice


async def ended_by_replacement(served: Served) -> RawSession:
    alice = await served.raw.share("alice")
    await served.raw.register("alice", alice.pair, peer_id=alice.peer_id)
    return alice


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("end", [ended_by_leave, ended_by_replacement])
async def test_a_token_is_worth_nothing_after_its_session(
    served: Served, method: str, end: Any
) -> None:
    alice = await end(served)

    assert (await refusal(alice.call(method, CALLS[method]))).why == UNKNOWN


async def test_a_token_is_worth_nothing_after_its_lease(tmp_path: Path) -> None:
    async with directory_running(tmp_path, lease_seconds=1) as (_, raw):
        alice = await raw.share("alice")
        bob = await raw.register("bob")
        async with asyncio.timeout(5):
            while (await bob.list_peers()).peers:
                await bob.heartbeat()
                await asyncio.sleep(0.05)

        assert (await refusal(alice.query())).why == UNKNOWN
        again = await raw.register("alice", alice.pair, peer_id=alice.peer_id)
        await again.heartbeat()


async def test_a_peer_that_left_is_in_no_answer_when_leave_returns(served: Served) -> None:
    alice, bob = await served.raw.share("alice"), await served.raw.register("bob")
    file = resource("a.txt")
    await alice.announce(file)

    await alice.leave()

    assert not (await bob.query()).listed_resources
    assert not (await bob.list_peers()).peers
    assert not (await bob.locate(file.digest)).sources


async def test_registering_again_replaces_the_session_and_keeps_the_catalog(
    served: Served,
) -> None:
    alice = await served.raw.share("alice")
    await alice.announce(resource("a.txt"))

    again = await served.raw.share("alice", alice.pair, peer_id=alice.peer_id)

    assert again.granted.held_revision == types.Revision(epoch="e1", counter=1)
    assert [r.resource.path for r in (await again.query()).listed_resources] == ["a.txt"]
    assert (await refusal(alice.heartbeat())).why == UNKNOWN


async def test_registering_again_at_the_same_address_never_hides_the_catalog(
    served: Served,
) -> None:
    alice, bob = await served.raw.share("alice"), await served.raw.register("bob")
    await alice.announce(resource("a.txt"))
    endpoint = served.raw.listeners[0].endpoint

    await served.raw.register(
        "alice", alice.pair, peer_id=alice.peer_id, listed=True, endpoints=[endpoint]
    )

    assert len((await bob.query()).listed_resources) == 1


async def test_leaving_one_session_leaves_the_user_s_others(served: Served) -> None:
    pair = peer_key_pair()
    laptop = await served.raw.share("alice", pair)
    desktop = await served.raw.share("alice", pair)

    await laptop.leave()

    (peer,) = (await desktop.list_peers()).peers
    assert peer.peer_id == desktop.peer_id


async def test_client_only_sessions_are_not_listed(served: Served) -> None:
    alice = await served.raw.register("alice")

    assert not (await alice.list_peers()).peers


async def test_a_heartbeat_tells_the_lease_the_time_and_what_is_held(tmp_path: Path) -> None:
    async with directory_running(tmp_path, lease_seconds=12) as (_, raw):
        alice = await raw.share("alice")
        await alice.announce(resource("a.txt"))

        renewed = await alice.heartbeat(load=pb.PeerLoad(active_uploads=2, max_uploads=64))

        assert renewed.lease_duration.ToTimedelta().total_seconds() == 12
        assert renewed.heartbeat_interval.ToTimedelta().total_seconds() == 4
        assert renewed.held_revision == types.Revision(epoch="e1", counter=1)
        (peer,) = (await alice.list_peers()).peers
        assert (peer.load.active_uploads, peer.load.max_uploads) == (2, 64)
        assert peer.resource_count == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"load": pb.PeerLoad(active_uploads=-1)},
        {"load": pb.PeerLoad(max_uploads=-(2**31))},
        {"revision": types.Revision(epoch="e", counter=-1)},
        {"revision": types.Revision(epoch="e\n", counter=1)},
        {"revision": types.Revision(counter=1)},
    ],
)
async def test_a_malformed_heartbeat_is_refused(served: Served, fields: dict[str, Any]) -> None:
    alice = await served.raw.register("alice")

    assert (await refusal(alice.heartbeat(**fields))).reason == "FIELD_INVALID"


async def test_a_session_may_be_used_from_another_connection(served: Served) -> None:
    alice = await served.raw.register("alice")
    port = served.running.listen.port

    async with served.raw.at("127.0.0.1", port) as other:
        alice.directory = other
        await alice.heartbeat()


async def test_thousands_of_sessions_of_one_user_meet_the_limit(tmp_path: Path) -> None:
    limits = Limits(max_peers_per_user=20)
    async with directory_running(tmp_path, limits=limits) as (_, raw):
        pair = peer_key_pair()
        reasons = []
        for _ in range(25):
            try:
                await raw.register("alice", pair)
            except grpc.aio.AioRpcError as error:
                reasons.append(error.code())

        assert reasons == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 5
        await raw.register("bob")
