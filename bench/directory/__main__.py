"""Runs a directory and its load generator, and writes what it bears into docs/performance.md.

Usage: python -m bench.directory [--resources N] [--peers N] [--alive N] [--dry]

The directory is the real program with TLS and metrics on, the generator another process on the same
machine. Rates beside which a peer is named were measured in turns within the run.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.certificates import directory_key_pair

from bench.directory.load import ALIVE_CONNECTIONS
from bench.support.report import machine, put_section

ROUNDS = 3
SECONDS_A_ROUND = 4
SERVER = Path(sys.executable).parent / "p2p-server"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Running:
    """A server process, and where it listens."""

    process: "subprocess.Popen[str]"
    port: int

    def memory_mib(self, field: str = "VmRSS") -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
        raise KeyError(field)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


@contextmanager
def directory(
    state: Path, listen: str = "127.0.0.1:0", *, lease_seconds: int | None = None
) -> Iterator[Running]:
    """With every limit off that one generator on one address would run into.

    Args:
        lease_seconds: None: as the directory chooses. Peers of scenarios without heartbeats need a
            long one.
    """
    command = [
        *(SERVER, "serve", "--state-dir", state, "--listen", listen, "--log-format", "json"),
        *("--metrics", "127.0.0.1:0", "--max-sessions-per-address", "0"),
        *("--max-announces-per-minute", "0"),
        *(() if lease_seconds is None else ("--lease", lease_seconds)),
    ]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with ended(process):
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        yield Running(process, int(ready["listen"].rpartition(":")[2]))


@contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()


@contextmanager
def echo(folder: Path) -> Iterator[Running]:
    pair = directory_key_pair()
    (folder / "echo.crt").write_bytes(pair.certificate_pem)
    (folder / "echo.key").write_bytes(pair.key_pem)
    command = [sys.executable, "-m", "bench.directory.echo"]
    process = subprocess.Popen(
        [*command, str(folder / "echo.crt"), str(folder / "echo.key")],
        stdout=subprocess.PIPE,
        text=True,
    )
    with ended(process):
        assert process.stdout is not None
        yield Running(process, int(process.stdout.readline()))


@contextmanager
def etcd(folder: Path) -> Iterator[int | None]:
    """None: this machine has none. Durable as it comes: each put is fsynced."""
    program = shutil.which("etcd")
    if program is None:
        yield None
        return
    port = 23_790
    urls = [f"http://127.0.0.1:{at}" for at in (port, port + 1)]
    command = [
        *(program, "--data-dir", str(folder / "etcd"), "--log-level", "error"),
        *("--listen-client-urls", urls[0], "--advertise-client-urls", urls[0]),
        *("--listen-peer-urls", urls[1], "--initial-advertise-peer-urls", urls[1]),
        *("--initial-cluster", f"default={urls[1]}", "--quota-backend-bytes", str(2 << 30)),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True)
    with ended(process):
        time.sleep(3)
        yield port


class Bench:
    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.rows: list[tuple[str, str, str, str]] = []

    def start_load(self, scenario: str, port: int, **named: object) -> "subprocess.Popen[str]":
        arguments = {"sessions": self.folder / "sessions.json", **named}
        words = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
        return subprocess.Popen(
            [sys.executable, "-m", "bench.directory.load", scenario, "--port", str(port), *words],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )

    def load(self, scenario: str, port: int, **named: object) -> dict[str, Any]:
        return self.result(scenario, self.start_load(scenario, port, **named))

    def result(self, scenario: str, process: "subprocess.Popen[str]") -> dict[str, Any]:
        output, _ = process.communicate()
        assert process.returncode == 0, f"{scenario} failed"
        found: dict[str, Any] = json.loads(output)
        print(f"  {scenario}: {json.dumps(found)}", flush=True)
        return found

    def row(self, work: str, wanted: str, measured: str, how: str) -> None:
        self.rows.append((work, wanted, measured, how))
        print(f"{work}: {measured}", flush=True)

    # --- what is measured ----------------------------------------------------------------------

    def run(self) -> str:
        state = self.folder / "state"
        with directory(state, lease_seconds=3_600) as server:
            port = server.port
            self.load("register", port, peers=self.options.peers)
            self.announces(server, state)
            self.searches(server)
            self.memory(server)
            self.heartbeats(server)
        self.restart(state, port)
        self.connections()
        if self.options.alive:
            self.kept_alive()
        return self.table()

    def announces(self, server: Running, state: Path) -> None:
        resources = self.options.resources
        with etcd(self.folder) as etcd_port:
            puts = None
            if etcd_port is not None:
                found = self.load("etcd", etcd_port, seconds=8, callers=64)
                puts = found["puts_per_second"]
        before = server.cpu_seconds()
        found = self.load("announce", server.port, resources=resources)
        cost = (server.cpu_seconds() - before) / resources
        began = time.perf_counter()
        for file in state.iterdir():  # what a power failure would take is on the disk after this
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        to_disk = time.perf_counter() - began
        rate = resources / (found["seconds"] + to_disk)
        beside = (
            f"; {rate / puts:.1f} × the {puts:,.0f} puts/s of etcd"
            if puts
            else "; etcd is not here"
        )
        self.row(
            f"announce {resources:,} resources of {self.options.peers:,} peers",
            "≥ 12,000/s (25,000 and 2 × etcd)",
            f"{rate:,.0f} resources/s{beside}; {cost * 1e6:.0f} µs of the server's processor time "
            "each",
            "snapshots in batches of 500, 4 calls at once over 8 connections; indexed, committed, "
            "and the files fsynced at the end; etcd: single puts of like size, 64 at once, "
            "each fsynced",
        )

    def searches(self, server: Running) -> None:
        resources = self.options.resources
        before = server.cpu_seconds()
        found = self.load("search", server.port, resources=resources, seconds=20)
        cost = (server.cpu_seconds() - before) / found["queries"]
        self.row(
            f"search at {resources:,}",
            "p50 ≤ 5 ms, p99 ≤ 25 ms",
            f"p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms; {cost * 1e3:.1f} ms of "
            "the server's processor time each",
            "selective words, limit 50, open loop of 100 queries/s over 8 connections, 20 s",
        )
        announcing = self.start_load("churn", server.port, seconds=22)
        time.sleep(1.5)
        busy = self.load("search", server.port, resources=resources, seconds=18)
        churn = self.result("churn", announcing)
        self.row(
            "the same while announces run at full rate",
            "p99 ≤ 60 ms",
            f"p50 {busy['p50_ms']:.1f} ms, p99 {busy['p99_ms']:.1f} ms beside "
            f"{churn['resources_per_second']:,.0f} resources/s; {busy['refused']} refused",
            "deltas of 500 new resources, 4 peers, each as fast as it is answered",
        )

    def memory(self, server: Running) -> None:
        self.row(
            f"memory at {self.options.resources:,} resources, {self.options.peers:,} peers",
            "< 500 MiB",
            f"{server.memory_mib():.0f} MiB (peak {server.memory_mib('VmHWM'):.0f})",
            "resident memory of the process after the announces and searches above",
        )

    def heartbeats(self, server: Running) -> None:
        ratios, ours, queries, costs = list[float](), list[float](), list[float](), list[float]()
        with echo(self.folder) as bare:
            for _ in range(ROUNDS):
                a_round = {"seconds": SECONDS_A_ROUND}
                echoed, echo_us = self.costed(bare, method="Echo", **a_round)
                beat, beat_us = self.costed(server, method="Heartbeat", **a_round)
                base = echoed["per_second"]
                costs.append(echo_us / beat_us)
                asked = self.load(
                    "closed",
                    server.port,
                    method="Query",
                    resources=self.options.resources,
                    **a_round,
                )
                ours.append(beat["per_second"])
                ratios.append(beat["per_second"] / base)
                queries.append(asked["per_second"] / base)
        ratio = statistics.median(ratios)
        self.row(
            "Heartbeat, authentication and metrics on",
            "≥ 60 % of a bare grpcio aio server (85 %)",
            f"{ratio:.0%} ({statistics.median(ours):,.0f}/s); by processor time of the server a "
            f"call {statistics.median(costs):.0%}",
            f"closed loop, 16 callers over 4 TLS connections, {ROUNDS} rounds in turns with a bare "
            "server that answers an empty message; median of the ratios",
        )
        self.row(
            "queries/s, closed loop",
            "beside the bare echo's",
            f"{statistics.median(queries):.0%} of it",
            "the same 16 callers, selective words, limit 50",
        )

    def costed(self, server: Running, **named: object) -> tuple[dict[str, Any], float]:
        """A closed loop, and the microseconds of processor time that each call cost the server:
        what other programs do on the machine changes that least."""
        before = server.cpu_seconds()
        found = self.load("closed", server.port, **named)
        calls = found["per_second"] * SECONDS_A_ROUND
        return found, (server.cpu_seconds() - before) / calls * 1e6

    def restart(self, state: Path, port: int) -> None:
        waiting = self.start_load("first_answer", port, resources=self.options.resources)
        time.sleep(1.5)  # the generator's own start is not the directory's
        began_at = time.time()
        with directory(state, f"127.0.0.1:{port}", lease_seconds=3_600):
            answered = self.result("first_answer", waiting)
        self.row(
            f"start with {self.options.resources:,} resources to the first answer",
            "< 3 s",
            f"{answered['answered_at'] - began_at:.2f} s",
            "from the start of the process to a Query answered in a session of before",
        )

    def connections(self) -> None:
        with directory(self.folder / "idle") as server:
            before = server.memory_mib()
            process = self.start_load("idle", server.port, peers=1_000)
            assert process.stdout is not None
            count = json.loads(process.stdout.readline())["connections"]
            after = server.memory_mib()
            process.communicate()
        self.row(
            "memory of an idle connection",
            "known",
            f"{(after - before) * 1024 / count:.0f} KiB",
            f"{count:,} TLS connections, one call each, then nothing",
        )

    def kept_alive(self) -> None:
        with directory(self.folder / "alive") as server:
            living = self.start_load("alive", server.port, peers=self.options.alive, seconds=60)
            assert living.stdout is not None
            living.stdout.readline()  # all are there
            before, began = server.cpu_seconds(), time.perf_counter()
            found = self.result("alive", living)
            share = (server.cpu_seconds() - before) / (time.perf_counter() - began)
        self.row(
            f"{self.options.alive:,} peers held alive",
            "≤ 30 % of one core",
            f"{share:.0%} of one core, {found['heartbeats_per_second']:.0f} heartbeats/s, "
            f"{found['refused']} refused",
            f"they share {ALIVE_CONNECTIONS} connections; the directory chose a lease of "
            f"{found['lease_seconds']:.0f} s and an interval of {found['interval_seconds']:.0f} s",
        )

    def table(self) -> str:
        lines = ["| work | wanted | measured | how |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=1_000_000)
    parser.add_argument("--peers", type=int, default=2_000)
    parser.add_argument("--alive", type=int, default=20_000, help="peers held alive; 0: leave out")
    parser.add_argument("--dry", action="store_true", help="print only, leave the report alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="p2p-bench-") as folder:
        body = f"Measured {machine()}, generator included.\n\n{Bench(options, Path(folder)).run()}"
    print(body)
    if not options.dry:
        put_section("directory", "The directory", __doc__ or "", body)


if __name__ == "__main__":
    main()
