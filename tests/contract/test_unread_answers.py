"""Callers who take no answers have no more than their host's share of the directory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.directory.running import directory_running

from p2p_server.rpc.unread import CALL_BYTES, Unread

MOST_CALLS = 20
HOST, ELSEWHERE = "127.0.0.2", "127.0.0.1"
RESOURCE_EXHAUSTED = b"8"
INFO = "/p2p.v1.DirectoryService/GetDirectoryInfo"


class Reluctant:
    """Calls over a connection of its own, and gives no room for answers; headers need none."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None)
        )
        codes = h2.settings.SettingCodes
        self._h2.local_settings = h2.settings.Settings(
            initial_values={codes.INITIAL_WINDOW_SIZE: 0, codes.ENABLE_PUSH: 0}
        )
        self._h2.initiate_connection()

    async def call(self, count: int) -> None:
        for _ in range(count):
            stream = self._h2.get_next_available_stream_id()
            headers = [(":method", "POST"), (":scheme", "http"), (":path", INFO)]
            headers += [(":authority", "x"), ("te", "trailers")]
            self._h2.send_headers(stream, [*headers, ("content-type", "application/grpc")])
            self._h2.send_data(stream, bytes(5), end_stream=True)
        self._writer.write(self._h2.data_to_send())
        await self._writer.drain()

    async def outcomes(self, count: int) -> list[bytes]:
        """Of the next calls of which headers come: the status; empty: an answer that waits."""
        found: list[bytes] = []
        while len(found) < count:
            received = await self._reader.read(1 << 16)
            assert received, "the directory closed the connection"
            for event in self._h2.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived):
                    found.append(dict(event.headers or ()).get(b"grpc-status", b""))
            self._writer.write(self._h2.data_to_send())
        return found


@asynccontextmanager
async def reluctant(port: int) -> AsyncIterator[Reluctant]:
    streams = await asyncio.open_connection(ELSEWHERE, port, local_addr=(HOST, 0))
    try:
        yield Reluctant(*streams)
    finally:
        streams[1].transport.abort()


@pytest.mark.slow
async def test_who_takes_no_answers_is_refused_and_others_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("p2p_server.rpc.calls.MOST_BYTES", MOST_CALLS * CALL_BYTES)
    async with asyncio.timeout(60), directory_running(tmp_path, insecure=True) as (running, raw):
        async with reluctant(running.listen.port) as caller:
            await caller.call(MOST_CALLS - 2)
            held = await caller.outcomes(MOST_CALLS - 2)
            await caller.call(10)
            over = await caller.outcomes(10)

            assert (await raw.info()).directory_id, "another host is not answered"
        assert held == [b""] * (MOST_CALLS - 2)
        assert over.count(RESOURCE_EXHAUSTED) >= 8

        outcome = [RESOURCE_EXHAUSTED]
        while outcome == [RESOURCE_EXHAUSTED]:  # until gRPC has noticed that it is gone
            async with reluctant(running.listen.port) as caller:
                await caller.call(1)
                outcome = await caller.outcomes(1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 4 * CALL_BYTES))))
def test_a_host_within_its_share_is_always_let_in(steps: list[tuple[str, int]]) -> None:
    most = 3 * CALL_BYTES
    unread, held = Unread(most), {host: list[int]() for host in "abc"}
    for host, answer_bytes in steps:
        waiting = held[host]
        if answer_bytes < 0 and waiting:
            unread.left(host, CALL_BYTES + waiting.pop())
        elif sum(waiting) + CALL_BYTES * (len(waiting) + 1) > most:
            assert not unread.came(host)
        else:
            assert unread.came(host)
            unread.answered(host, max(0, answer_bytes))
            waiting.append(max(0, answer_bytes))
        assert unread.held_bytes(host) == sum(waiting) + CALL_BYTES * len(waiting)


def test_behind_a_proxy_all_are_one_host_and_none_is_refused() -> None:
    unread = Unread(None)
    for _ in range(100_000):
        assert unread.came("proxy")
