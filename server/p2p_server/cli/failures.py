"""How a command fails: one line for people, and an exit status."""

import sys
from typing import NoReturn


def reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def fail(message: str, status: int) -> NoReturn:
    print(f"p2p-server: {message}", file=sys.stderr)
    raise SystemExit(status)
