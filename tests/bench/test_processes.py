"""What a process cost, as `make bench` sees it."""

import subprocess
import sys

import pytest
from bench.support.processes import Failed, Watch, cpu_seconds, run, tree

BUSY = "import time\nwhile time.process_time() < 0.4: pass"
HUNGRY = "bytearray(b'x') * (64 << 20)"


def test_a_process_is_charged_with_its_own_time_and_memory() -> None:
    ballast = bytearray(b"x") * (128 << 20)  # ours, and not the child's

    cost = run([sys.executable, "-c", f"{BUSY}\n{HUNGRY}"])

    assert cost.seconds >= cost.cpu_seconds / 2 >= 0.1
    assert 64 < cost.peak_mib < 120 < len(ballast) >> 20


def test_what_failed_says_so_with_its_own_words() -> None:
    with pytest.raises(Failed, match=r"ended with 3: .*sorry"):
        run(["sh", "-c", "echo sorry >&2; exit 3"])


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(Failed, match="no-such-program could not be started"):
        run(["no-such-program"])


def test_a_server_is_charged_with_what_its_children_do() -> None:
    line = f"import subprocess, sys\ninput()\nsubprocess.run([sys.executable, '-c', '''{BUSY}'''])"
    with subprocess.Popen(
        [sys.executable, "-c", f"{line}\nprint(flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        with Watch([server.pid], sampling=True) as watch:
            server.stdin.write(b"\n")
            server.stdin.flush()
            server.stdout.readline()
        server.communicate(b"\n")

    assert watch.cpu_seconds >= 0.2  # half of it: the clock that counts ticks is coarse
    assert watch.peak_mib > 5


def test_a_process_that_is_gone_costs_nothing() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()

    assert cpu_seconds(gone.pid) == 0
    assert tree(gone.pid) == [gone.pid]
