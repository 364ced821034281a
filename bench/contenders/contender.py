"""What a contender is, and what is said when it is not here."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Missing(Exception):
    """A program that is not installed here; the text says how to get it."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that fetches, and the source that it fetches from, which runs already.

    Args:
        name: as the report names it, with what it does to verify.
        command: fetches the named file of the shared folder to a path that is not there yet.
        serving: the processes that serve; what they start belongs to them.
        version: of the programs, for the report.
    """

    name: str
    command: Callable[[str, Path], list[str]]
    serving: tuple[int, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


def program(name: str, package: str) -> str:
    """Where it is, the places for system programs included. Raises Missing."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        raise Missing(f"{name} (apt install {package})")
    return found


def version_of(*command: str) -> str:
    """The first thing in what it prints that looks like a version."""
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+(\.\d+)*\w*", said.stdout + said.stderr)
    return found[0] if found else "of unknown version"
