"""What the operator reads: one record a line, as text or as JSON, on stderr.

Names in records come from strangers: whatever could move a cursor or begin a new line is escaped.
"""

import dataclasses
import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Final, TextIO

from p2p_server.config import LogFormat
from p2p_server.directory.events import (
    Announced,
    Event,
    Expired,
    Judged,
    Left,
    Registered,
    Removed,
)
from p2p_server.directory.models import EndpointStatus, Verdict
from p2p_server.directory.presence.reach.endpoints import is_visible

log = logging.getLogger("p2p_server")

_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_PEER_ID_SHOWN: Final = 8
_EXTRA: Final = "event"  # attribute of a record: the event it tells, for the JSON format


def configure(log_format: LogFormat, stream: TextIO | None = None) -> None:
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if log_format is LogFormat.JSON else TextLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    log.setLevel(logging.INFO)


def tell(event: Event) -> None:
    """Logs an event. Client-only sessions come and go with every command: those at debug."""
    quiet = not getattr(event, "listed", True)
    log.log(logging.DEBUG if quiet else logging.INFO, "%s", sentence(event), extra={_EXTRA: event})


def sentence(event: Event) -> str:
    match event:
        case Registered():
            first = " for the first time" if event.is_new_user else ""
            role = "" if event.listed else ", client only"
            software = f", {event.client_software}" if event.client_software else ""
            peer = event.peer_id[:_PEER_ID_SHOWN]
            return f"{event.user} registered{first} from {event.host} (peer {peer}{software}{role})"
        case Judged():
            return _judged(event)
        case Announced():
            return _announced(event)
        case Left():
            return f"{event.user} left"
        case Expired():
            return f"{event.user} expired: no heartbeat within its lease"
        case Removed():
            return f"{event.user} was removed, or registered elsewhere"


def _judged(event: Judged) -> str:
    if is_visible(event.statuses):
        reached = _those(event.statuses, Verdict.REACHABLE, Verdict.LOCAL_ONLY)
        return f"{event.user} is listed at {reached}"
    tried = _those(event.statuses, *Verdict)
    why = f"cannot be reached at {tried}" if tried else "offers no address"
    return f"{event.user} is not listed, for it {why}"


def _those(statuses: tuple[EndpointStatus, ...], *verdicts: Verdict) -> str:
    return ", ".join(
        f"{status.endpoint}{' (local)' if status.verdict is Verdict.LOCAL_ONLY else ''}"
        for status in statuses
        if status.verdict in verdicts
    )


def _announced(event: Announced) -> str:
    parts = []
    if event.resources or event.is_snapshot or not event.withdrawn:
        counted = _count(event.resources, "resource")
        parts.append(f"announced {counted}, {size_text(event.size_bytes)}")
    if event.withdrawn:
        parts.append(f"withdrew {event.withdrawn:,}")
    if event.rejected:
        parts.append(f"{event.rejected:,} rejected")
    return f"{event.user} {', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size_text(size_bytes: int) -> str:
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in _UNITS:
        size /= 1024
        if size < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{size:.1f} {unit}"


def printable(text: str) -> str:
    """The text with everything escaped that a terminal would not simply print."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


class TextLines(logging.Formatter):
    """`2026-01-31 12:00:00 alice left`; a traceback follows on lines of its own, indented."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        lines = [f"{time} {level}{printable(record.getMessage())}"]
        if record.exc_info:
            traceback = self.formatException(record.exc_info).splitlines()
            lines += [f"    {printable(line)}" for line in traceback]
        return "\n".join(lines)


class JsonLines(logging.Formatter):
    """One object a line: time, level, message, and the event's own fields where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        event = getattr(record, _EXTRA, None)
        if event is not None:
            fields |= event_fields(event)
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)  # ASCII: every control character is escaped


def event_fields(event: Event) -> Mapping[str, object]:
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    statuses = fields.pop("statuses", None)
    if statuses is not None:
        fields["endpoints"] = {str(s.endpoint): _plain(s.verdict) for s in statuses}
    return {"event": type(event).__name__.lower()} | fields


def _plain(value: Enum) -> object:
    return value.value
