"""The servers that are measured: a directory, the bare echo beside it, etcd."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import directory_key_pair

SERVER = Path(sys.executable).parent / "p2p-server"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Running:
    """A server process, and where it listens."""

    process: "subprocess.Popen[str]"
    port: int
    metrics: str | None = None  # HOST:PORT

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
        yield Running(process, int(ready["listen"].rpartition(":")[2]), ready["metrics"])


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
