"""A prompt that does not block the loop, and notices that appear while it waits.

Reads stdin in a thread of its own, so it works alike on terminals, pipes and files. Escape codes
only on terminals that know them.
"""

import asyncio
import codecs
import contextlib
import os
import sys
import threading
from collections.abc import Sequence

from p2p_client.cli.render import printable, table, takes_escapes

_STDIN = 0
_CLEAR_LINE = "\r\x1b[K"


class EndOfInput(Exception):
    """Nobody will answer any more: Ctrl-D, or the end of a script."""


class Screen:
    """One conversation with whoever sits at stdin and stdout. Make it inside the running loop."""

    def __init__(self) -> None:
        self._answers: asyncio.Queue[str | None] = asyncio.Queue()
        self._prompt = ""
        self._asking = False
        self._escapes = takes_escapes(sys.stdout)
        self.is_terminal = sys.stdin.isatty()
        # A daemon, for nothing can wake it from its read when we leave.
        threading.Thread(
            target=_read_lines, args=(asyncio.get_running_loop(), self._answers), daemon=True
        ).start()

    async def ask(self, prompt: str) -> str:
        """What is typed after the prompt, without white space around it. Raises EndOfInput."""
        self._prompt = f"{printable(prompt)} "
        self._asking = True
        self._write(self._prompt)
        try:
            answer = await self._answers.get()
        finally:
            self._asking = False
        if answer is None:
            self._answers.put_nowait(None)  # the end stays the end
            self._write("\n")
            raise EndOfInput
        if not self.is_terminal:  # nobody pressed Enter, so the line is not ended yet
            self._write("\n")
        return answer.strip()

    def tell(self, text: str) -> None:
        """One line; above the prompt while that waits for an answer."""
        line = printable(text)
        if not self._asking:
            self._write(f"{line}\n")
        elif self._escapes:
            self._write(f"{_CLEAR_LINE}{line}\n{self._prompt}")
        else:
            self._write(f"\n{line}\n{self._prompt}")

    def table(
        self, headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
    ) -> None:
        for line in table(headings, rows, right=right):
            self._write(f"{line}\n")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _read_lines(loop: asyncio.AbstractEventLoop, answers: "asyncio.Queue[str | None]") -> None:
    """Puts each line of stdin into the queue, then None; ends with the loop."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    pending = ""
    with contextlib.suppress(RuntimeError):  # the loop is closed: we have left
        while data := _read_some():
            *lines, pending = (pending + decoder.decode(data)).split("\n")
            for line in lines:
                loop.call_soon_threadsafe(answers.put_nowait, line)
        if pending:
            loop.call_soon_threadsafe(answers.put_nowait, pending)
        loop.call_soon_threadsafe(answers.put_nowait, None)


def _read_some() -> bytes:
    # Not sys.stdin: its lock, held by a thread at the interpreter's end, would abort us.
    try:
        return os.read(_STDIN, 65_536)
    except OSError:  # the terminal is gone, or there never was a stdin
        return b""
