"""Heartbeats sent by `h2load`, which spends a fraction of what a generator in Python does: so the
rates are nearer to what the server alone can do.

What h2load cannot see: it counts HTTP's 200, which gRPC answers to refused calls as well, for their
`grpc-status` stands in a trailer. So the call is made once by gRPC before, and after the run the
directory's own metrics must have as many calls more that ended with OK, and no others; the echo has
no metrics, there the answers' bytes are counted. h2load sends one and the same message, of one
peer, and does not verify the certificate.
"""

import asyncio
import re
import shutil
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from bench.directory.load.connections import connected, raw_method
from bench.directory.servers import Running
from bench.support.processes import Failed

CONNECTIONS = 4
CALLS_A_CONNECTION = 4
WARM_UP_CALLS = 1_000
PREFIX_BYTES = 5  # of each message of gRPC: compressed or not, and its length
LOOK_SECONDS = 5.0

_COUNTS = re.compile(r"requests: (\d+) total.* (\d+) succeeded, (\d+) failed")
_RATE = re.compile(r"finished in [^,]+, ([\d.]+) req/s")
_DATA = re.compile(r"headers .*\((\d+)\) data")
_HANDLED = re.compile(r'^p2p_rpc_handled_total\{(.*method="Heartbeat".*)\} (\S+)', re.MULTILINE)

OK = "OK"
Handled = dict[str, int]


@dataclass(frozen=True, slots=True)
class Said:
    """What h2load said at its end."""

    calls: int
    succeeded: int
    data_bytes: int
    per_second: float


@dataclass(frozen=True, slots=True)
class Flood:
    """Heartbeats to one server, as fast as they are answered."""

    program: str
    server: Running
    body: Path
    token: str
    answer_bytes: int

    def run(self, calls: int) -> Said:
        """Raises Failed unless each call was answered, and with OK."""
        before = self._handled()
        headers = ["content-type: application/grpc", "te: trailers"]
        headers += [f"authorization: Bearer {self.token}"] if self.token else []
        command = [
            *(self.program, "-n", str(calls), "-c", str(CONNECTIONS)),
            *("-m", str(CALLS_A_CONNECTION), "-d", str(self.body)),
            *(word for header in headers for word in ("-H", header)),
            f"https://127.0.0.1:{self.server.port}/p2p.v1.DirectoryService/Heartbeat",
        ]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise Failed(f"h2load ended with {ended.returncode}: {ended.stderr.strip()[-500:]}")
        said = read(ended.stdout)
        if (said.calls, said.succeeded) != (calls, calls):
            raise Failed(f"h2load: {said.succeeded} of {calls} calls were answered")
        if self.server.metrics is None:
            check_bytes(said, self.answer_bytes)
        else:
            self._check_handled(before, calls)
        return said

    def _check_handled(self, before: Handled, calls: int) -> None:
        """The last calls are counted a moment after they were answered."""
        deadline = time.monotonic() + LOOK_SECONDS
        while (more := more_of(before, self._handled())) != {OK: calls}:
            if time.monotonic() > deadline:
                raise Failed(f"h2load sent {calls} heartbeats; the directory counted {more}")
            time.sleep(0.05)

    def _handled(self) -> Handled:
        """Heartbeats so far by how they ended, as the directory's metrics count them."""
        if self.server.metrics is None:
            return {}
        with urllib.request.urlopen(f"http://{self.server.metrics}/metrics", timeout=10) as page:
            return handled(page.read().decode())

    def measure(self, seconds: float) -> tuple[Said, float]:
        """For about so long; with it the microseconds of the server's processor time a call."""
        rate = self.run(WARM_UP_CALLS).per_second
        before = self.server.cpu_seconds()
        said = self.run(max(WARM_UP_CALLS, int(rate * seconds)))
        return said, (self.server.cpu_seconds() - before) / said.calls * 1e6


def flood(server: Running, folder: Path, request: bytes, token: str = "") -> Flood | None:
    """None: h2load is not here. Fails where the server refuses the call."""
    program = shutil.which("h2load")
    if program is None:
        return None
    body = folder / f"heartbeat-{server.port}.bin"
    body.write_bytes(b"\0" + len(request).to_bytes(4, "big") + request)
    answer = asyncio.run(_answer(server.port, request, token))
    return Flood(program, server, body, token, PREFIX_BYTES + len(answer))


async def _answer(port: int, request: bytes, token: str) -> bytes:
    async with connected(port, 1) as (directory,):
        return await raw_method(directory, "Heartbeat", token)(request)


def read(output: str) -> Said:
    counts, rate, data = (pattern.search(output) for pattern in (_COUNTS, _RATE, _DATA))
    if counts is None or rate is None or data is None:
        raise Failed(f"h2load said something else: {output.strip()[-500:]}")
    return Said(int(counts[1]), int(counts[2]), int(data[1]), float(rate[1]))


def handled(page: str) -> Handled:
    found = Handled()
    for labels, count in _HANDLED.findall(page):
        code = re.search(r'code="([^"]*)"', labels)
        found[code[1] if code else ""] = found.get(code[1] if code else "", 0) + int(float(count))
    return found


def more_of(before: Handled, after: Handled) -> Handled:
    return {code: more for code in after if (more := after[code] - before.get(code, 0))}


def check_bytes(said: Said, answer_bytes: int) -> None:
    """Raises Failed unless there are as many as the answers have; a refusal has none."""
    if said.data_bytes != answer_bytes * said.calls:
        raise Failed(f"h2load: {said.data_bytes} bytes in {said.calls} answers of {answer_bytes}")
