"""Connections and sessions as the scenarios use them: raw gRPC, bytes to bytes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.directory.raw import RawDirectory

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
