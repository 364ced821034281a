"""Programs as a test runs them: started, watched, signalled, ended; never left behind.

Every wait has a deadline and fails with all that the process printed. Knows nothing of what the
programs do: see `network.py` for that.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

READY_SECONDS = 30.0
RUN_SECONDS = 60.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.02

Record = dict[str, Any]
T = TypeVar("T")


def eventually(
    look: Callable[[], T], *, within_seconds: float = 15.0, every_seconds: float = POLL_SECONDS
) -> T:
    """What `look` returns, as soon as that is true; for what no event of ours announces.

    An AssertionError in `look` counts as not yet.

    Raises:
        AssertionError: still not true at the deadline; `look`'s own error where it had one.
    """
    deadline = time.monotonic() + within_seconds
    while True:
        failure: AssertionError | None = None
        try:
            if result := look():
                return result
        except AssertionError as error:
            failure = error
        if time.monotonic() >= deadline:
            raise failure or AssertionError(f"still not so after {within_seconds} s")
        time.sleep(every_seconds)


def json_lines(text: str) -> list[Record]:
    """The JSON objects among the lines, in order; other lines are left out."""
    records = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict):
                records.append(record)
    return records


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that has run to its end."""

    command: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Exit status 0; anything else fails the test here, with all that was printed."""
        assert self.status == 0, str(self)
        return True

    def failed(self, status: int) -> str:
        """The sentences on stderr, of a program that must have ended with this status, without a
        traceback."""
        assert self.status == status, f"wanted status {status} of {self}"
        assert "Traceback" not in self.stderr, str(self)
        return self.stderr

    @property
    def records(self) -> list[Record]:
        """stdout as JSON; fails on a line that is not."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    def event(self, name: str) -> Record:
        """The last event of that name on stdout."""
        found = [record for record in self.records if record.get("event") == name]
        assert found, f"no {name!r} event from {self}"
        return found[-1]

    def __str__(self) -> str:
        return (
            f"`{' '.join(self.command)}` ended with {self.status} after {self.seconds:.1f} s\n"
            f"--- stdout\n{self.stdout}--- stderr\n{self.stderr}"
        )


class Program:
    """A program that runs: started in its own process group, its output collected as it comes."""

    def __init__(
        self, command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str]
    ) -> None:
        self.command = tuple(map(str, command))
        self._started_at = time.monotonic()
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            self.command,
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._readers = [self._collect("stdout"), self._collect("stderr")]

    def _collect(self, name: str) -> threading.Thread:
        stream = getattr(self.process, name)

        def read() -> None:
            for line in stream:
                with self._changed:
                    self._lines[name].append(line.decode(errors="backslashreplace"))
                    self._changed.notify_all()
            with self._changed:
                self._changed.notify_all()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        return reader

    # --- what it prints -------------------------------------------------------------------------

    @property
    def stdout(self) -> str:
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        return self._text("stderr")

    def _text(self, name: str) -> str:
        with self._changed:
            return "".join(self._lines[name])

    def wait_for(
        self, seen: Callable[["Program"], T], *, within_seconds: float = READY_SECONDS
    ) -> T:
        """What `seen` returns, as soon as the output makes that true.

        Raises:
            AssertionError: the deadline passed, or the program ended, without it.
        """
        deadline = time.monotonic() + within_seconds
        with self._changed:
            while True:
                if result := seen(self):
                    return result
                over = not any(reader.is_alive() for reader in self._readers)
                left = deadline - time.monotonic()
                if over or left <= 0:
                    why = "it ended" if over else f"{within_seconds} s passed"
                    raise AssertionError(f"not seen, but {why}: {self}")
                self._changed.wait(min(left, 0.2))

    def wait_for_event(
        self,
        name: str,
        *,
        where: Callable[[Record], bool] = lambda _: True,
        within_seconds: float = READY_SECONDS,
    ) -> Record:
        """The first JSON event of that name, on stdout or stderr, that `where` holds for."""

        def found(program: Program) -> Record | None:
            records = json_lines(program.stdout) + json_lines(program.stderr)
            fitting = (r for r in records if r.get("event") == name and where(r))
            return next(fitting, None)

        record = self.wait_for(found, within_seconds=within_seconds)
        assert record is not None
        return record

    def wait_for_text(self, text: str, *, within_seconds: float = READY_SECONDS) -> None:
        self.wait_for(
            lambda program: text in program.stdout or text in program.stderr,
            within_seconds=within_seconds,
        )

    def __str__(self) -> str:
        status = self.process.poll()
        state = "runs" if status is None else f"ended with {status}"
        return (
            f"`{' '.join(self.command)}` {state}\n"
            f"--- stdout\n{self.stdout}--- stderr\n{self.stderr}"
        )

    # --- its end --------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def age_seconds(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._started_at

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP: it keeps its sockets and answers nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def wait(self, *, within_seconds: float = RUN_SECONDS) -> Ended:
        """Its end; fails (and kills it) when it does not come in time."""
        try:
            status = self.process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"still ran after {within_seconds} s: {self}") from None
        self._close()
        seconds = time.monotonic() - self._started_at
        return Ended(self.command, status, self.stdout, self.stderr, seconds)

    def stop(self, *, within_seconds: float = STOP_SECONDS) -> Ended:
        """SIGTERM, and its end."""
        self.signal(signal.SIGTERM)
        return self.wait(within_seconds=within_seconds)

    def interrupt(self, *, within_seconds: float = STOP_SECONDS) -> Ended:
        """Ctrl-C, and its end."""
        self.signal(signal.SIGINT)
        return self.wait(within_seconds=within_seconds)

    def kill(self) -> None:
        """kill -9 of all that it started; fine when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)
        self._close()

    def _close(self) -> None:
        for reader in self._readers:
            reader.join(STOP_SECONDS)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
