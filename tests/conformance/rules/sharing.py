"""Rules for who shares, as its directory sees it: registering, leases, announcing."""

import asyncio
import time
from itertools import pairwise

import grpc
from blake3 import blake3
from tests.conformance.rules.book import rule
from tests.conformance.rules.world import PlayedDirectory, Sharing, World, until
from tools.vectors.base import MIB, content
from tools.vectors.contents import manifest_case

from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types
from p2p_server.directory.trust.certificates import checked_peer_certificate

FILES = {"empty.bin": b"", "abc.txt": b"abc", "many.bin": content(2 * MIB + 1)}


def quick(**arguments: float) -> dict[str, float]:
    """A directory that asks for heartbeats often."""
    return {"heartbeat_seconds": 0.5, "lease_seconds": 2.0, **arguments}


async def shared(world: World, directory: PlayedDirectory) -> Sharing:
    return await world.share(directory, {"abc.txt": b"abc"})


def snapshots(directory: PlayedDirectory) -> int:
    return len({b.snapshot.snapshot_id for b in directory.batches if b.HasField("snapshot")})


@rule("share", "registers with a proof that verifies and a certificate of the profile")
async def registers(world: World) -> None:
    directory = await world.directory()

    await shared(world, directory)  # the played directory verified the proof

    register = directory.sharer.register
    checked_peer_certificate(register.certificate_der)
    assert register.listed, "not listed"
    assert 16 <= len(register.peer_id) <= 64, "the peer_id is too short or too long"


@rule("share", "announces each file with its digest, its manifest's digest and its size")
async def announces(world: World) -> None:
    directory = await world.directory()

    sharing = await world.share(directory, FILES)

    for name, data in FILES.items():
        resource, case = sharing.resource(name), manifest_case(name, data)
        assert resource.digest == case["digest"], f"digest of {name}"
        assert resource.manifest_digest == case["manifest_digest"], f"manifest_digest of {name}"
        assert resource.size_bytes == len(data), f"size of {name}"


@rule("share", "keeps key and peer_id over a restart, and announces nothing that is held already")
async def restarts(world: World) -> None:
    directory = await world.directory()
    sharing = await shared(world, directory)
    before = directory.sharer.register
    await asyncio.to_thread(sharing.program.stop)

    await shared(world, directory)

    await until(lambda: directory.calls["Register"] >= 2, "never registered again")
    after = directory.sharer.register
    assert after.peer_id == before.peer_id, "another peer_id"
    assert after.certificate_der == before.certificate_der, "another certificate"


@rule("share", "heartbeats in time")
async def heartbeats(world: World) -> None:
    directory = await world.directory(**quick())
    sharing = await shared(world, directory)
    times = directory.times.setdefault("Heartbeat", [])
    began = len(times)

    await until(lambda: len(times) >= began + 7, "not 7 heartbeats in 20 s", sharing.program)

    gaps = [b - a for a, b in pairwise(times[began:])]
    assert max(gaps) < 1.5, f"{max(gaps):.1f} s between two, 0.5 s asked for, a lease of 2 s"


@rule("share", "keeps an interval that is absurd within bounds")
async def absurd_interval(world: World) -> None:
    directory = await world.directory(lease_seconds=3.0, heartbeat_seconds=0.0)
    await shared(world, directory)
    began = directory.calls["Heartbeat"]
    await asyncio.sleep(2)
    count = directory.calls["Heartbeat"] - began
    assert 1 <= count <= 12, f"{count} heartbeats in 2 s where 0 s were asked for"

    directory.heartbeat_seconds = 1e8
    await asyncio.sleep(0.5)
    began = directory.calls["Heartbeat"]
    await until(
        lambda: directory.calls["Heartbeat"] > began,
        "no heartbeat within a lease of 3 s where 1e8 s were asked for",
        within_seconds=5,
    )


@rule("share", "registers again where its session is unknown, without announcing what is held")
async def session_unknown(world: World) -> None:
    directory = await world.directory(**quick())
    sharing = await shared(world, directory)
    announced, registered = directory.calls["Announce"], directory.calls["Register"]

    directory.forget_sessions()

    await until(lambda: directory.calls["Register"] > registered, "not again", sharing.program)
    began = directory.calls["Heartbeat"]
    await until(lambda: directory.calls["Heartbeat"] > began + 1, "no heartbeat", sharing.program)
    assert directory.calls["Announce"] == announced, "announced what the directory holds"


@rule("share", "announces all anew to a directory that holds nothing")
async def forgotten(world: World) -> None:
    directory = await world.directory(**quick())
    sharing = await world.share(directory, FILES)

    directory.forget_everything()

    await until(
        lambda: bool(directory.peers) and len(directory.sharer.resources) == len(FILES),
        "not announced again",
        sharing.program,
    )


@rule("share", "announces a snapshot where a heartbeat tells of another revision")
async def other_revision(world: World) -> None:
    directory = await world.directory(**quick())
    sharing = await shared(world, directory)
    began = snapshots(directory)
    own = types.Revision()
    own.CopyFrom(directory.sharer.held)

    directory.sharer.held.CopyFrom(types.Revision(epoch="other", counter=own.counter + 5))

    await until(lambda: snapshots(directory) > began, "no snapshot came", sharing.program)
    await until(lambda: directory.sharer.held.epoch != "other", "not completed", sharing.program)


@rule("share", "announces a snapshot after REVISION_MISMATCH")
async def mismatch(world: World) -> None:
    directory = await world.directory()  # no heartbeat meanwhile, which may tell otherwise
    sharing = await shared(world, directory)
    began = snapshots(directory)
    directory.refuses_deltas = True

    (sharing.folder / "new.txt").write_bytes(b"new")

    await until(
        lambda: "shared/new.txt" in directory.sharer.resources, "not announced", sharing.program
    )
    assert snapshots(directory) > began, "no snapshot came"


@rule("share", "announces what was added, changed and removed")
async def changes(world: World) -> None:
    directory = await world.directory(**quick())
    sharing = await world.share(directory, {"a.txt": b"a", "b.txt": b"b"})

    (sharing.folder / "a.txt").unlink()
    (sharing.folder / "b.txt").write_bytes(b"changed")
    (sharing.folder / "c.txt").write_bytes(b"added")

    wanted = {
        "shared/b.txt": blake3(b"changed").hexdigest(),
        "shared/c.txt": blake3(b"added").hexdigest(),
    }
    await until(
        lambda: {p: r.digest for p, r in directory.sharer.resources.items()} == wanted,
        "not announced",
        sharing.program,
    )


@rule("share", "keeps every batch within the directory's limits")
async def limits(world: World) -> None:
    directory = await world.directory()
    directory.limits = types.Limits(max_announce_items=7, max_request_bytes=2_000)

    await world.share(directory, {f"{'long' * 20}{n}.txt": bytes([n]) for n in range(40)})

    for batch in directory.batches:
        items = len(batch.resources) + len(batch.withdrawn_paths) + len(batch.partial_contents)
        assert items <= 7, f"{items} items in a batch"
        assert batch.ByteSize() <= 2_000, f"{batch.ByteSize()} bytes in a batch"


@rule("share", "stays, and serves on, while the directory is unavailable")
async def unavailable(world: World) -> None:
    directory = await world.directory(**quick())
    sharing = await shared(world, directory)
    away = grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"
    directory.refuse["Heartbeat"] = directory.refuse["Register"] = away
    await asyncio.sleep(2)
    assert sharing.program.running, "it ended"

    directory.refuse.clear()

    began = directory.calls["Heartbeat"]
    await until(
        lambda: directory.calls["Heartbeat"] > began + 1, "did not come back", sharing.program, 15
    )


@rule("share", "comes back to a directory that restarted")
async def restarted(world: World) -> None:
    directory = await world.directory(**quick())
    sharing = await shared(world, directory)
    await directory.stop()
    directory.forget_everything()
    await asyncio.sleep(1)

    await directory.start()

    await until(
        lambda: bool(directory.peers) and bool(directory.sharer.resources),
        "not announced again",
        sharing.program,
    )


@rule("share", "refuses a directory that restarted with another key")
async def restarted_as_another(world: World) -> None:
    directory = await world.directory(**quick())
    await shared(world, directory)
    await directory.stop()

    other = await world.directory(port=directory.port, **quick())

    await asyncio.sleep(4)
    assert not other.calls, f"it called {list(other.calls)}"


@rule("share", "leaves on SIGTERM, with status 0")
async def leaves(world: World) -> None:
    directory = await world.directory()
    sharing = await shared(world, directory)

    began = time.monotonic()
    ended = await asyncio.to_thread(sharing.program.stop)

    assert ended.status == 0, f"status {ended.status}"
    assert directory.calls["Leave"] == 1, f"{directory.calls['Leave']} calls of Leave"
    assert time.monotonic() - began < 5, "it took longer than 5 s"


@rule("share", "ignores reasons, verdicts and fields that it does not know")
async def unknown(world: World) -> None:
    directory = await world.directory(**quick())
    verdict = directory.verdict

    def newer(answer: pb.HeartbeatResponse) -> None:
        answer.MergeFromString(bytes.fromhex("fa7f0568656c6c6f"))  # field 2047: "hello"
        answer.endpoint_statuses.add(verdict=99)  # of a later contract

    directory.lie["Heartbeat"] = newer
    sharing = await shared(world, directory)
    directory.refuse_once["Heartbeat"] = grpc.StatusCode.UNAVAILABLE, "OF_A_LATER_CONTRACT"
    began = directory.calls["Heartbeat"]
    await until(lambda: directory.calls["Heartbeat"] > began + 3, "no heartbeats", sharing.program)
    assert directory.verdict == verdict
