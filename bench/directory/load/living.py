"""Peers that come online, stay there, or only hold a connection."""

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
from tests.support.certificates import KeyPair, peer_key_pair
from tests.support.directory.listening import listen_as
from tests.support.directory.raw import register_bytes, sign

from bench.directory.load.connections import Sessions, connected, in_parallel, raw_method
from p2p.v1 import directory_pb2 as pb
from p2p.v1 import types_pb2 as types

# So many that a heartbeat of each peer at once stays below the calls that a connection may have.
ALIVE_CONNECTIONS = 256


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
