"""The clients that must understand each other, as command lines: Python, Go and Node.

Each is built by its own ecosystem's command, in a copy of the sources below build/, once for each
state of them; processes that test at the same time wait for the one that builds. All three take
the same words and print the same JSON (docs/conformance.md), so a `User` of any language can do
what the others do.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support.programs.network import CLIENT, Network, User
from tests.support.programs.processes import Program

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "conformance"
BUILD_SECONDS = 600
_LEFT_OUT = shutil.ignore_patterns("node_modules", "dist", "gen", "p2p-go", ".*")

Command = tuple[str, ...]


class ToolchainAbsent(Exception):
    """What it takes to build the client is not on this machine; the text says what."""


@dataclass(frozen=True)
class Language:
    """How one client is built and run.

    Args:
        tools: program, how it tells its version, and the oldest version that will do.
        build: commands, run in the folder of the example.
        run: the client, relative to that folder.
    """

    name: str
    tools: tuple[tuple[Command, tuple[int, ...]], ...] = ()
    build: tuple[Command, ...] = ()
    run: Command = ()


LANGUAGES = {
    language.name: language
    for language in (
        Language("python"),
        Language(
            "go",
            tools=((("go", "version"), (1, 24)),),
            build=(("go", "build", "-o", "p2p-go", "."),),
            run=("{folder}/p2p-go",),
        ),
        Language(
            "node",
            tools=((("node", "--version"), (20,)), (("npm", "--version"), (9,))),
            # Not `npm ci`: it refuses a lock file made where a registry lacks the native builds
            # of some other platform.
            build=(("npm", "install"), ("npm", "run", "build")),
            run=("node", "{folder}/dist/main.js"),
        ),
    )
}


@cache
def command_of(name: str) -> Command:
    """The command line of the client in that language, built where it has to be; asked once a
    process, for looking whether it is still as it was built takes its time.

    Raises:
        ToolchainAbsent
        AssertionError: the build failed; with all that it printed.
    """
    language = LANGUAGES[name]
    if not language.build:
        return (str(CLIENT),)
    check_tools(language)
    with _alone(name):
        folder = _built(language)
    return tuple(part.format(folder=folder) for part in language.run)


def check_tools(language: Language) -> None:
    """Raises ToolchainAbsent."""
    for command, oldest in language.tools:
        _check_tool(command, oldest)


def _check_tool(command: Command, oldest: tuple[int, ...]) -> None:
    wanted = f"{command[0]} {'.'.join(map(str, oldest))} or newer is not installed"
    if shutil.which(command[0]) is None:
        raise ToolchainAbsent(wanted)
    text = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"(\d+)\.(\d+)", text)
    if found is None or tuple(map(int, found.groups())) < oldest:
        raise ToolchainAbsent(f"{wanted} (found: {text.strip() or 'no version'})")


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One builder of that language at a time among all processes."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _built(language: Language) -> Path:
    """The folder of the example in a built copy of its sources. Call with the lock held."""
    copy = BUILD / language.name
    folder = copy / "examples" / language.name
    state = _state_of(language)
    stamp = copy / "built"
    if stamp.is_file() and stamp.read_text() == state:
        return folder
    shutil.rmtree(copy, ignore_errors=True)
    for part in ("proto", f"examples/{language.name}"):
        shutil.copytree(ROOT / part, copy / part, ignore=_LEFT_OUT)
    for command in language.build:
        _run(command, folder)
    stamp.write_text(state)
    return folder


def _state_of(language: Language) -> str:
    """A digest of all that is built from."""
    summed = hashlib.sha256(repr(language).encode())
    for part in ("proto", f"examples/{language.name}"):
        for folder, folders, files in os.walk(ROOT / part):
            folders[:] = sorted(set(folders) - _LEFT_OUT(folder, folders))
            for file in sorted(set(files) - _LEFT_OUT(folder, files)):
                path = Path(folder, file)
                summed.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return summed.hexdigest()


def _run(command: Command, folder: Path) -> None:
    done = subprocess.run(
        ("nice", *command),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, (
        f"`{' '.join(command)}` failed:\n{done.stdout[-4_000:]}\n{done.stderr[-4_000:]}"
    )


class Speaker(User):
    """A user whose client is written in one of the languages."""

    def __init__(self, network: Network, name: str, command: Command) -> None:
        super().__init__(network, name, network.folder / "users" / name)
        self._network = network
        self._command = command

    def start(
        self, *arguments: str | Path, environment: Mapping[str, str] | None = None
    ) -> Program:
        """Starts the client with these arguments."""
        return self._network.start(
            (*self._command, *arguments),
            cwd=self.folder,
            environment=self.environment | dict(environment or {}),
        )
