"""How things look on a terminal and in JSON: tables, times, and nothing unprintable, ever.

Whatever came from the network or the disk passes `printable` (for people) or `json_line` (for
programs) before it is written. Writes nothing itself, apart from `Output`, which writes it all.
"""

import json
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TextIO

from p2p_client.errors import Ambiguous, PeerError
from p2p_client.records import dataclass

PROGRAM = "p2p-client"

_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Printable by category, invisible on the screen: fillers and joiners made for spoofing.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
_PLAIN_ARGUMENT = re.compile(r"[\w@%+=:,./-]+")
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def printable(text: str) -> str:
    r"""The text with all that could steer a terminal or hide from the eye as `\xNN`, `\uNNNN`.

    Controls (C0, DEL, C1, so newlines too), bidi controls, zero-width characters, lone surrogates,
    private and unassigned ones. Spaces of all widths stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escape, text))


def _escape(character: str) -> str:
    if unicodedata.category(character) not in _UNPRINTABLE and character not in _INVISIBLE:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cell_width(text: str) -> int:
    """Columns that printable text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def json_line(record: Mapping[str, object]) -> str:
    """One JSON object in ASCII: whatever is not, is escaped, and nothing is lost by it."""
    return json.dumps(record, ensure_ascii=True, separators=(",", ":"), default=str)


def rfc3339(moment: datetime) -> str:
    """In UTC, to the microsecond where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def local_time(moment: datetime) -> str:
    """For people, in their own time zone."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def endpoint_or_none(endpoint: object | None) -> str | None:
    return None if endpoint is None else str(endpoint)


def table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> Iterator[str]:
    """Aligned lines, headings first. The last column is never padded nor cut: put paths there.

    Args:
        right: headings of the columns that are aligned to the right.
    """
    lines = [tuple(headings), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(map(cell_width, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            _pad(cell, width, heading in right)
            for cell, width, heading in zip(line[:-1], widths, headings, strict=False)
        ]
        yield "  ".join([*cells, line[-1]])


def _pad(cell: str, width: int, to_the_right: bool) -> str:
    filling = " " * (width - cell_width(cell))
    return filling + cell if to_the_right else cell + filling


def pasteable(argument: str) -> str:
    """One argument as a shell takes it: quoted where it must be."""
    return argument if _PLAIN_ARGUMENT.fullmatch(argument) else shlex.quote(argument)


def takes_escapes(stream: TextIO) -> bool:
    """Whether colours and cursor movements belong on this stream."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")


def _colours(stream: TextIO) -> bool:
    return takes_escapes(stream) and not os.environ.get("NO_COLOR")


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command writes: results on stdout, everything said to people on stderr.

    With `json`, stdout holds one object a line and nothing else.
    """

    json: bool = False
    verbose: bool = False

    def result(self, text: str) -> None:
        """One line for people; nothing with `json`, where `record` tells it."""
        if not self.json:
            print(printable(text), flush=True)

    def record(self, record: Mapping[str, object]) -> None:
        """One line for programs; nothing without `json`."""
        if self.json:
            print(json_line(record), flush=True)

    def table(
        self, headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
    ) -> None:
        if self.json or not rows:
            return
        head, *lines = table(headings, rows, right=right)
        print(f"{_BOLD}{head}{_PLAIN}" if _colours(sys.stdout) else head)
        print("\n".join(lines), flush=True)

    def say(self, text: str) -> None:
        print(printable(text), file=sys.stderr, flush=True)

    def hint(self, text: str) -> None:
        """Said more quietly where the terminal can."""
        line = printable(text)
        quiet = f"{_DIM}{line}{_PLAIN}" if _colours(sys.stderr) else line
        print(quiet, file=sys.stderr, flush=True)

    def notice(self, text: str) -> None:
        self.say(f"{PROGRAM}: {text}")

    def error(self, error: PeerError) -> None:
        self.failure(
            str(error),
            error.exit_status,
            error.reason,
            error.candidates if isinstance(error, Ambiguous) else None,
        )

    def failure(
        self, message: str, status: int, reason: str, candidates: Sequence[str] | None = None
    ) -> None:
        """One sentence on stderr (and what to choose from below it); an event with `json`."""
        self.notice(message)
        for candidate in candidates or ():
            self.say(pasteable(candidate))
        record: dict[str, object] = {
            "event": "error",
            "code": status,
            "reason": reason,
            "message": message,
        }
        self.record(record if candidates is None else {**record, "candidates": list(candidates)})
