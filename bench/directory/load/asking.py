"""Questions: in an open loop, in a closed one, and the first after a start."""

import argparse
import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import Callable

import grpc.aio

from bench.directory.load.connections import Sessions, connected, percentile, raw_method
from bench.directory.load.living import heartbeat_request
from p2p.v1 import directory_pb2 as pb

WORDS: tuple[Callable[[int], str], ...] = (
    lambda n: f"_{n:07}",  # one resource
    lambda n: f"zebra session {n % 400:03}",  # one in 4,000
    lambda n: f"holiday_{n // 100:05}",  # a dozen
    lambda n: f"2019 session {n % 400:03} mp4",  # one in 40,000
)


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
