"""The menu as somebody at a terminal sees it: a program behind a pseudo-terminal."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect

ANSWER_SECONDS = 20.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Dialogue:
    """Types and reads. Each wait has a deadline and fails with what was on the screen."""

    def __init__(
        self, command: list[str], *, cwd: Path, environment: Mapping[str, str], term: str = "dumb"
    ) -> None:
        self.screen = ""
        self._terminal: pexpect.spawn[str] = pexpect.spawn(
            command[0],
            command[1:],
            cwd=str(cwd),
            env=dict(environment) | {"TERM": term},
            encoding="utf-8",
            timeout=ANSWER_SECONDS,
            dimensions=(40, 200),
        )

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
        self._terminal.sendcontrol(letter)

    def answers(self, prompt: str, line: str) -> str:
        """Waits for the prompt and answers it; what was seen up to the prompt."""
        seen = self.sees(prompt)
        self.types(line)
        return seen

    def ends(self, status: int) -> str:
        """Waits for the end with that status; the rest of the screen."""
        seen = self.sees_end()
        self._terminal.close()
        assert self._terminal.exitstatus == status, (
            f"ended with {self._terminal.exitstatus}, signal {self._terminal.signalstatus}:\n"
            f"{self.screen}"
        )
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
        self._terminal.close(force=True)
