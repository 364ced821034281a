"""One stage: what was measured, on which side, and how much time and CPU time it took."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Took:
    """CPU seconds of the side that sends and of the one that takes; 0 for a side there is not."""

    seconds: float
    sending_cpu_seconds: float = 0.0
    taking_cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    name: str
    run: Callable[[], Took]


def cpu_seconds() -> float:
    """Of this process so far, all threads together, what the kernel did for it included."""
    return time.process_time()


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds and CPU seconds of work in this process."""
    begun, cpu_begun = time.perf_counter(), cpu_seconds()
    work()
    return time.perf_counter() - begun, cpu_seconds() - cpu_begun


def chunk() -> bytes:
    return os.urandom(CHUNK_BYTES)
