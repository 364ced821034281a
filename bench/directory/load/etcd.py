"""What is measured beside announces: puts into etcd."""

import argparse
import asyncio
import time
from typing import Any

import grpc.aio


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
