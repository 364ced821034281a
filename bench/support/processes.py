"""What whole processes cost: those that we start and wait for, and those that serve meanwhile."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")
TICKS = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.02
QUIET_SECONDS = 0.2


class Failed(Exception):
    """A program did not do what was to be measured; the text says which and how."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One process from its start to its end. Peak memory is of the largest of its processes."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    *,
    folder: Path | None = None,
) -> Cost:
    """Runs a command to its end. Raises Failed with what it said when it did not succeed."""
    launched = subprocess.run(
        [sys.executable, "-I", "-S", str(LAUNCHER), *map(str, command)],
        env=_own_environment() | dict(environment or {}),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if launched.returncode:
        raise Failed(f"{command[0]} could not be started: {launched.stderr.strip()[-500:]}")
    code, seconds, cpu_seconds, peak_kib = json.loads(launched.stdout)
    if code:
        said = launched.stderr.strip()[-1_000:]
        raise Failed(f"{' '.join(map(str, command))} ended with {code}: {said}")
    return Cost(seconds, cpu_seconds, peak_kib / 1024)


def _own_environment() -> dict[str, str]:
    """Ours, except that programs in Python are compiled once, as installed ones are."""
    return {name: at for name, at in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def tree(root: int) -> list[int]:
    """The process and all that descend from it, as far as they live."""
    found, waiting = list[int](), [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                children = Path(f"/proc/{pid}/task/{thread}/children").read_text()
                waiting.extend(map(int, children.split()))
    return found


def cpu_seconds(root: int) -> float:
    """Of the process and its descendants, those that ended and were waited for included."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, after_name[11:15]))
    return total / TICKS


def peak_mib(root: int) -> float:
    """The most memory that each living process of the tree ever held, added up."""
    total_kib = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    total_kib += int(line.split()[1])
    return total_kib / 1024


class Watch:
    """The processes that serve: the CPU time they take while watched, and their peak memory.

    `sampling` also sees processes that come and go, such as one for each connection. It costs some
    CPU time itself, so use it in rounds that are not counted.
    """

    def __init__(self, roots: Sequence[int], *, sampling: bool = False) -> None:
        self._roots = tuple(roots)
        self._sampling = sampling
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._begun_at = 0.0
        self.cpu_seconds = 0.0
        self.peak_mib = 0.0

    def __enter__(self) -> "Watch":
        self._begun_at = self._cpu_seconds()
        if self._sampling:
            self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._sampling:
            self._sampler.join()
        time.sleep(QUIET_SECONDS)  # until a process for one connection has ended and was waited for
        self.cpu_seconds = self._cpu_seconds() - self._begun_at
        self._look()

    def _cpu_seconds(self) -> float:
        return sum(map(cpu_seconds, self._roots))

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        self.peak_mib = max(self.peak_mib, sum(map(peak_mib, self._roots)))


@contextlib.contextmanager
def daemon(command: Sequence[str], port: int, seconds: float = 20.0) -> Iterator[int]:
    """A server from when it answers on its port of 127.0.0.1; yields its process id."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + seconds
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{command[0]} did not start")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
