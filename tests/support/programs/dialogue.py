"""The menu as somebody at a terminal sees it: a program behind a pseudo-terminal.

It is started as a new process that never was a fork of ours: the process of the tests has gRPC
loaded, whose handlers act within a fork before the program can begin.
"""

import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect
from pexpect.fdpexpect import fdspawn

ANSWER_SECONDS = 20.0
_ROWS, _COLUMNS = 40, 200
_AT_THE_TERMINAL = (  # makes it the one of the session, so that Ctrl-C is a signal
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Dialogue:
    """Types and reads. Each wait has a deadline and fails with what was on the screen."""

    def __init__(
        self, command: list[str], *, cwd: Path, environment: Mapping[str, str], term: str = "dumb"
    ) -> None:
        self.screen = ""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (_ROWS, _COLUMNS))
        try:
            self._program = subprocess.Popen(
                [sys.executable, "-ISc", _AT_THE_TERMINAL, *command],
                cwd=cwd,
                env=dict(environment) | {"TERM": term},
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self._terminal: fdspawn[str] = fdspawn(ours, encoding="utf-8", timeout=ANSWER_SECONDS)

    def sees(self, pattern: str, *, within_seconds: float = ANSWER_SECONDS) -> str:
        """Waits for the pattern; what stood on the screen since the last wait, up to its end."""
        try:
            self._terminal.expect(pattern, timeout=within_seconds)
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            unread = self._terminal.before or ""
            raise AssertionError(
                f"{pattern!r} was not seen ({type(error).__name__}) on:\n{self.screen}{unread}"
            ) from None
        seen = f"{self._terminal.before}{self._terminal.after}".replace("\r\n", "\n")
        self.screen += seen
        return _ESCAPES.sub("", seen)

    def types(self, line: str) -> None:
        self._terminal.sendline(line)

    def types_control(self, letter: str) -> None:
        os.write(self._terminal.child_fd, bytes([ord(letter.upper()) - ord("@")]))

    def answers(self, prompt: str, line: str) -> str:
        """Waits for the prompt and answers it; what was seen up to the prompt."""
        seen = self.sees(prompt)
        self.types(line)
        return seen

    def ends(self, status: int) -> str:
        """Waits for the end with that status; the rest of the screen."""
        seen = self.sees_end()
        ended_with = self._program.wait(ANSWER_SECONDS)
        assert ended_with == status, f"ended with {ended_with}:\n{self.screen}"
        return seen

    def sees_end(self) -> str:
        try:
            self._terminal.expect(pexpect.EOF, timeout=ANSWER_SECONDS)
        except pexpect.TIMEOUT:
            raise AssertionError(f"it did not end:\n{self.screen}{self._terminal.before}") from None
        seen = (self._terminal.before or "").replace("\r\n", "\n")
        self.screen += seen
        return seen

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._program.kill()
        self._program.wait()
        self._terminal.close()
