"""What is asked of a directory, and the row of the report that each answer is."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.directory.h2load import CALLS_A_CONNECTION, CONNECTIONS, flood
from bench.directory.load.connections import Sessions
from bench.directory.load.living import ALIVE_CONNECTIONS, heartbeat_request
from bench.directory.servers import Running, directory, echo, etcd

ROUNDS = 3
SECONDS_A_ROUND = 4


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
            self.heartbeats_of_h2load(server)
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

    def heartbeats_of_h2load(self, server: Running) -> None:
        """The same by a generator that leaves the cores to the server."""
        token = Sessions.load(self.folder / "sessions.json").tokens[0]
        ratios, ours, costs = list[float](), list[float](), list[float]()
        with echo(self.folder) as bare:
            beats = flood(server, self.folder, heartbeat_request(), token)
            echoes = flood(bare, self.folder, b"")
            if beats is None or echoes is None:
                self.row("Heartbeat by h2load", "as above", "h2load is not here", "–")
                return
            for _ in range(ROUNDS):
                echoed, echo_us = echoes.measure(SECONDS_A_ROUND)
                beat, beat_us = beats.measure(SECONDS_A_ROUND)
                ratios.append(beat.per_second / echoed.per_second)
                ours.append(beat.per_second)
                costs.append(echo_us / beat_us)
        self.row(
            "Heartbeat by h2load",
            "as above",
            f"{statistics.median(ratios):.0%} ({statistics.median(ours):,.0f}/s); by processor "
            f"time of the server a call {statistics.median(costs):.0%}",
            f"{CALLS_A_CONNECTION} calls at once on each of {CONNECTIONS} TLS connections, one "
            f"peer, {ROUNDS} rounds in turns with the bare server. h2load takes refusals for "
            "answers, so by the directory's metrics all of them ended with OK",
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
