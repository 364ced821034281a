"""Announces: everything at once, and changes without end."""

import argparse
import asyncio
import random
import time

from bench.directory.load.connections import Sessions, connected, in_parallel, raw_method
from bench.directory.store import resource
from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types

BATCH = 500


def announce_requests(o: argparse.Namespace, peers: int) -> list[bytes]:
    """For each peer in turn its snapshot, in batches; encoded."""
    rng = random.Random(7)
    share = -(-o.resources // peers)
    requests: list[bytes] = []
    for peer in range(peers):
        numbers = range(peer * share, min((peer + 1) * share, o.resources))
        parts = [numbers[at : at + BATCH] for at in range(0, len(numbers), BATCH)]
        for index, part in enumerate(parts):
            request = pb.AnnounceRequest(
                revision=types.Revision(epoch="e", counter=1),
                snapshot=pb.Snapshot(
                    snapshot_id="s", batch_index=index, last=index == len(parts) - 1
                ),
            )
            for number in part:
                made = resource(number, rng)
                request.resources.add(
                    path=made.path,
                    size_bytes=made.size_bytes,
                    digest=made.digest,
                    manifest_digest=made.manifest_digest,
                    media_type=made.media_type,
                ).modify_time.FromSeconds(int(made.modified_at))
            requests.append(request.SerializeToString())
    return requests


async def announce(o: argparse.Namespace) -> dict[str, object]:
    """Everything that is shared, as fast as it is taken: one batch a peer at a time."""
    sessions = Sessions.load(o.sessions)
    peers = len(sessions.tokens)
    requests = announce_requests(o, peers)
    a_peer = -(-len(requests) // peers)
    slowest = 0.0
    async with connected(o.port, 8) as directories:

        async def share(peer: int) -> None:
            nonlocal slowest
            call = raw_method(directories[peer % 8], "Announce", sessions.tokens[peer])
            for request in requests[peer * a_peer : (peer + 1) * a_peer]:
                started_at = time.perf_counter()
                await call(request)
                slowest = max(slowest, time.perf_counter() - started_at)

        started_at = time.perf_counter()
        await in_parallel([lambda n=n: share(n) for n in range(peers)], 4)  # type: ignore[misc]
        seconds = time.perf_counter() - started_at
    return {
        "resources": o.resources,
        "seconds": seconds,
        "resources_per_second": o.resources / seconds,
        "bytes": sum(map(len, requests)),
        "slowest_call_ms": slowest * 1e3,
    }


async def churn(o: argparse.Namespace) -> dict[str, object]:
    """Deltas at full rate, for so many seconds: what is announced beside a search."""
    sessions = Sessions.load(o.sessions)
    rng = random.Random(11)
    count = 0
    ends_at = time.perf_counter() + o.seconds
    async with connected(o.port, 4) as directories:

        async def go_on(peer: int) -> None:
            nonlocal count
            call = raw_method(directories[peer % 4], "Announce", sessions.tokens[peer])
            counter = 1
            while time.perf_counter() < ends_at:
                request = pb.AnnounceRequest(
                    base=types.Revision(epoch="e", counter=counter),
                    revision=types.Revision(epoch="e", counter=counter + 1),
                )
                for _ in range(BATCH):
                    made = resource(rng.randrange(10**7, 10**8), rng)
                    request.resources.add(
                        path=made.path,
                        size_bytes=made.size_bytes,
                        digest=made.digest,
                        manifest_digest=made.manifest_digest,
                    )
                await call(request.SerializeToString())
                counter += 1
                count += BATCH

        async with asyncio.TaskGroup() as tasks:
            for peer in range(4):
                tasks.create_task(go_on(peer))
    return {"resources_per_second": count / o.seconds}
