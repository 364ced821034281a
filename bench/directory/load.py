"""The load generator: a process of its own that speaks real gRPC, and prints one JSON object.

Requests are encoded before the clock starts and answers are not decoded where only their number
counts, so that the machine's cores are the directory's as far as that is possible.

Usage: python -m bench.directory.load SCENARIO [options]; `python -m bench.directory` runs it.
"""

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
from tests.support.certificates import KeyPair, peer_key_pair
from tests.support.raw_directory import RawDirectory, listen_as, register_bytes, sign

from bench.directory.store import resource
from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types

BATCH = 500
# So many that a heartbeat of each peer at once stays below the calls that a connection may have.
ALIVE_CONNECTIONS = 256
WORDS: tuple[Callable[[int], str], ...] = (
    lambda n: f"_{n:07}",  # one resource
    lambda n: f"zebra session {n % 400:03}",  # one in 4,000
    lambda n: f"holiday_{n // 100:05}",  # a dozen
    lambda n: f"2019 session {n % 400:03} mp4",  # one in 40,000
)
Raw = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True)
class Sessions:
    """Peers that are online: kept in a file between scenarios, so that they are registered once."""

    tokens: list[str]
    peer_ids: list[str]

    @classmethod
    def load(cls, file: Path) -> "Sessions":
        return cls(**json.loads(file.read_text()))

    def save(self, file: Path) -> None:
        file.write_text(json.dumps({"tokens": self.tokens, "peer_ids": self.peer_ids}))


@asynccontextmanager
async def connected(port: int, count: int) -> AsyncIterator[list[RawDirectory]]:
    """Connections of their own, opened."""
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(RawDirectory.at("127.0.0.1", port))
        others = [
            RawDirectory(f"127.0.0.1:{port}", first.certificate_pem) for _ in range(count - 1)
        ]
        for other in others:
            stack.push_async_callback(other.channel.close)
        yield [first, *others]


def raw_method(directory: RawDirectory, name: str, token: str = "") -> Raw:
    """A call of bytes to bytes."""
    method: Any = directory.channel.unary_unary(f"/p2p.v1.DirectoryService/{name}")
    metadata = (("authorization", f"Bearer {token}"),) if token else None

    async def call(request: bytes) -> bytes:
        answer: bytes = await method(request, metadata=metadata, timeout=60)
        return answer

    return call


async def in_parallel(work: Sequence[Callable[[], Awaitable[None]]], at_once: int) -> None:
    waiting = iter(work)

    async def one_after_another() -> None:
        for each in waiting:
            await each()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(one_after_another())


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


# --- scenarios ------------------------------------------------------------------------------------


@asynccontextmanager
async def registrar(o: argparse.Namespace) -> AsyncIterator[Callable[[int], Awaitable[str]]]:
    """Has a peer come online, by its number; its token. All of them hold one key, at one place."""
    pair: KeyPair = peer_key_pair()
    listener = await listen_as(pair)
    async with connected(o.port, 8) as directories:
        info = await directories[0].info()

        async def come(number: int) -> str:
            directory = directories[number % len(directories)]
            challenge = (await directory.info()).challenge
            request = pb.RegisterRequest(
                user=f"user{number}",
                certificate_der=pair.certificate_der,
                peer_id=peer_id_of(number),
                challenge=challenge,
                listed=True,
                endpoints=[listener.endpoint],
            )
            signed = register_bytes(
                info.directory_id, challenge, request.user, request.peer_id, pair.certificate_der
            )
            request.proof = sign(pair, signed)
            return (await directory.send_register(request)).session_token

        yield come
        await asyncio.sleep(1)  # until the last of them has been dialled back
    listener.close()


def peer_id_of(number: int) -> str:
    return f"peer-{number:016}"


async def register(o: argparse.Namespace) -> dict[str, object]:
    """Peers come online."""
    tokens = [""] * o.peers
    async with registrar(o) as come:

        async def note(number: int) -> None:
            tokens[number] = await come(number)

        started_at = time.perf_counter()
        await in_parallel([lambda n=n: note(n) for n in range(o.peers)], 16)  # type: ignore[misc]
        seconds = time.perf_counter() - started_at
    Sessions(tokens, [peer_id_of(number) for number in range(o.peers)]).save(o.sessions)
    return {"peers": o.peers, "registrations_per_second": o.peers / seconds}


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


def questions(o: argparse.Namespace, seed: int) -> list[bytes]:
    rng = random.Random(seed)
    texts = [rng.choice(WORDS)(rng.randrange(o.resources)) for _ in range(1_000)]
    return [pb.QueryRequest(text=text, page_size=50).SerializeToString() for text in texts]


async def search(o: argparse.Namespace) -> dict[str, object]:
    """Open loop: so many queries a second, whether or not the last ones are answered."""
    sessions = Sessions.load(o.sessions)
    asked = questions(o, 3)
    took: list[float] = []
    found = refused = 0
    async with connected(o.port, 8) as directories:
        calls = [
            raw_method(directory, "Query", sessions.tokens[at])
            for at, directory in enumerate(directories)
        ]

        async def ask(number: int, due_at: float) -> None:
            nonlocal found, refused
            try:
                answer = await calls[number % 8](asked[number % len(asked)])
            except grpc.aio.AioRpcError:
                refused += 1
                return
            took.append(time.perf_counter() - due_at)
            found += bool(answer)

        await asyncio.gather(*(call(asked[0]) for call in calls))
        started_at = time.perf_counter() + 0.1
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(o.seconds * o.rate)):
                due_at = started_at + number / o.rate
                await asyncio.sleep(max(0.0, due_at - time.perf_counter()))
                tasks.create_task(ask(number, due_at))
    return {
        "queries": len(took),
        "with_hits": found,
        "refused": refused,
        "p50_ms": percentile(took, 0.5) * 1e3,
        "p99_ms": percentile(took, 0.99) * 1e3,
        "worst_ms": max(took) * 1e3,
    }


async def closed(o: argparse.Namespace) -> dict[str, object]:
    """Closed loop: calls of one method, each of the callers waiting for its answer."""
    requests = [b""]
    tokens = [""]
    if o.method != "Echo":
        tokens = Sessions.load(o.sessions).tokens
        requests = questions(o, 5) if o.method == "Query" else [heartbeat_request()]
    took: list[float] = []
    async with connected(o.port, 4) as directories:
        calls = [
            raw_method(directories[at % 4], "Heartbeat" if o.method == "Echo" else o.method, token)
            for at, token in enumerate(tokens[:200])
        ]
        ends_at = time.perf_counter() + o.seconds

        async def go_on(caller: int) -> None:
            number = caller
            while (began_at := time.perf_counter()) < ends_at:
                number += o.callers
                await calls[number % len(calls)](requests[number % len(requests)])
                took.append(time.perf_counter() - began_at)

        async with asyncio.TaskGroup() as tasks:
            for caller in range(o.callers):
                tasks.create_task(go_on(caller))
    return {
        "per_second": len(took) / o.seconds,
        "p50_ms": statistics.median(took) * 1e3,
        "p99_ms": percentile(took, 0.99) * 1e3,
    }


def heartbeat_request() -> bytes:
    return pb.HeartbeatRequest(
        revision=types.Revision(epoch="e", counter=1),
        load=pb.PeerLoad(active_uploads=1, max_uploads=8),
    ).SerializeToString()


@dataclass
class Pulse:
    """What the heartbeats of all peers came to."""

    beats: int = 0
    refused: int = 0
    why: Counter[str] = field(default_factory=Counter)
    interval_seconds: float = 0.0
    lease_seconds: float = 0.0


async def alive(o: argparse.Namespace) -> dict[str, object]:
    """Peers come online, and each heartbeats at the interval that it is told. Prints a line when
    all are there and heartbeat at the last of the intervals; counts for so many seconds then."""
    request, pulse, rng = heartbeat_request(), Pulse(), random.Random(1)
    async with connected(o.port, ALIVE_CONNECTIONS) as directories, registrar(o) as come:

        async def live(number: int, token: str) -> None:
            call = raw_method(directories[number % ALIVE_CONNECTIONS], "Heartbeat", token)
            pause = rng.random()
            while True:
                await asyncio.sleep(pause)
                try:
                    told = pb.HeartbeatResponse.FromString(await call(request))
                except grpc.aio.AioRpcError as error:
                    pulse.refused += 1
                    pulse.why[f"{error.code().name}: {error.details()}"] += 1
                    continue
                pulse.beats += 1
                pulse.interval_seconds = told.heartbeat_interval.ToTimedelta().total_seconds()
                pulse.lease_seconds = told.lease_duration.ToTimedelta().total_seconds()
                pause = pulse.interval_seconds * (0.9 + 0.1 * rng.random())

        async with asyncio.TaskGroup() as tasks:
            lives: list[asyncio.Task[None]] = []

            async def begin(number: int) -> None:
                lives.append(tasks.create_task(live(number, await come(number))))

            await in_parallel([lambda n=n: begin(n) for n in range(o.peers)], 16)  # type: ignore[misc]
            await asyncio.sleep(o.settle)
            print(json.dumps({"alive": o.peers}), flush=True)
            before = pulse.beats
            await asyncio.sleep(o.seconds)
            result = {
                "sessions": o.peers,
                "interval_seconds": pulse.interval_seconds,
                "lease_seconds": pulse.lease_seconds,
                "heartbeats_per_second": (pulse.beats - before) / o.seconds,
                "refused": pulse.refused,
                "why": dict(pulse.why.most_common(3)),
            }
            for each in lives:
                each.cancel()
    return result


async def idle(o: argparse.Namespace) -> dict[str, object]:
    """Connections that do nothing, until stdin ends."""
    async with connected(o.port, o.peers) as directories:
        for directory in directories:
            await directory.info()
        print(json.dumps({"connections": len(directories)}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    return {}


async def first_answer(o: argparse.Namespace) -> dict[str, object]:
    """Waits until a query is answered."""
    token = Sessions.load(o.sessions).tokens[0]
    request = questions(o, 3)[0]
    while True:
        with contextlib.suppress(OSError, grpc.aio.AioRpcError):
            async with connected(o.port, 1) as directories:
                await raw_method(directories[0], "Query", token)(request)
                return {"answered_at": time.time()}
        await asyncio.sleep(0.02)


async def etcd(o: argparse.Namespace) -> dict[str, object]:
    """Puts into etcd, of about as many bytes as a resource has: its KV.Put by hand."""
    count = 0
    ends_at = time.perf_counter() + o.seconds
    channels = [
        grpc.aio.insecure_channel(
            f"127.0.0.1:{o.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        for _ in range(8)
    ]

    async def go_on(caller: int) -> None:
        nonlocal count
        method: Any = channels[caller % 8].unary_unary("/etcdserverpb.KV/Put")
        while time.perf_counter() < ends_at:
            count += 1
            key = f"peer-{caller:04}/holiday/2019/Session 077/12/footage_{count:07}.mp4".encode()
            value = bytes(180)
            await method(b"\x0a" + bytes([len(key)]) + key + b"\x12\xb4\x01" + value, timeout=30)

    async with asyncio.TaskGroup() as tasks:
        for caller in range(o.callers):
            tasks.create_task(go_on(caller))
    for channel in channels:
        await channel.close()
    return {"puts_per_second": count / o.seconds}


SCENARIOS = {
    name.__name__: name
    for name in (
        register,
        announce,
        churn,
        search,
        closed,
        alive,
        idle,
        first_answer,
        etcd,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sessions", type=Path, default=Path("sessions.json"))
    parser.add_argument("--resources", type=int, default=20_000)
    parser.add_argument("--peers", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--settle", type=float, default=15)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--method", default="Heartbeat")
    options = parser.parse_args()
    result = asyncio.run(SCENARIOS[options.scenario](options))
    if result:
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
