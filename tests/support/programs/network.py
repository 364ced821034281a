"""The real programs as a network: a directory and users, in one temporary folder.

    with Network(tmp_path) as network:
        directory = network.directory(lease_seconds=6)
        alice, bob = network.user("alice"), network.user("bob")
        sharer = alice.share(alice.file("talk.mp4", b"..."))
        assert bob.run("get", "talk.mp4").ok
        sharer.kill()

Whatever still runs when the network is closed is killed. Knows the programs' command lines and
JSON, nothing of their insides.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.programs.processes import READY_SECONDS, RUN_SECONDS, Ended, Program, Record

BIN = Path(sys.executable).parent
CLIENT = BIN / "p2p-client"
SERVER = BIN / "p2p-server"


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory that is ready, or was: `network.restart(directory)` brings it back."""

    program: Program
    arguments: tuple[str, ...]  # as it was started, apart from --listen
    host: str  # where it listens
    port: int
    fingerprint: str
    insecure: bool
    prefix: tuple[str, ...]

    @property
    def address(self) -> str:
        """Where a user finds it: through loopback where it listens on everything."""
        host = "127.0.0.1" if self.host in ("", "0.0.0.0", "[::]") else self.host
        return f"{host}:{self.port}"

    def kill(self) -> None:
        self.program.kill()


class User:
    """A user of the network: one state folder, one home, one working folder."""

    def __init__(
        self, network: "Network", name: str, folder: Path, prefix: Sequence[str] = ()
    ) -> None:
        self._network = network
        self._prefix = tuple(prefix)
        self.name = name
        self.state_dir = folder / "state"
        self.folder = folder / "work"  # where its commands run
        self.folder.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """As the shell of this user has it: the directory, the name and the state folder set."""
        found = {"P2P_USER": self.name, "P2P_STATE_DIR": str(self.state_dir)}
        directory = self._network.first_directory
        if directory is not None:
            found["P2P_SERVER"] = directory.address
            if directory.insecure:
                found["P2P_INSECURE"] = "1"
        return self._network.environment | found

    def file(self, path: str, content: bytes | str) -> Path:
        """Writes a file below this user's working folder."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def start(
        self, *arguments: str | Path, environment: Mapping[str, str] | None = None
    ) -> Program:
        """Starts `p2p-client` with these arguments."""
        return self._network.start(
            (*self._prefix, CLIENT, *arguments),
            cwd=self.folder,
            environment=self.environment | dict(environment or {}),
        )

    def run(
        self,
        *arguments: str | Path,
        within_seconds: float = RUN_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> Ended:
        """Runs `p2p-client` to its end."""
        return self.start(*arguments, environment=environment).wait(within_seconds=within_seconds)

    def share(
        self,
        *paths: str | Path,
        arguments: Sequence[str] = (),
        within_seconds: float = READY_SECONDS,
    ) -> "Sharer":
        """Starts sharing, and returns once the share says that it is ready."""
        program = self.start("--json", "share", *arguments, *paths)
        ready = program.wait_for_event("ready", within_seconds=within_seconds)
        return Sharer(program, ready)

    def search(self, *arguments: str) -> list[Record]:
        """The rows of `search --json`."""
        ended = self.run("search", "--json", *arguments)
        assert ended.ok
        return ended.records

    def peers(self) -> list[Record]:
        ended = self.run("peers", "--json")
        assert ended.ok
        return ended.records


@dataclass(frozen=True, slots=True)
class Sharer:
    """A share that has said that it is ready, and what it said."""

    program: Program
    ready: Record

    @property
    def endpoint(self) -> str:
        assert isinstance(self.ready["endpoint"], str), f"nobody reaches {self.program}"
        return self.ready["endpoint"]

    @property
    def port(self) -> int:
        """Where it listens, on every interface."""
        return int(self.endpoint.rpartition(":")[2])

    def kill(self) -> None:
        self.program.kill()

    def stop(self) -> Ended:
        return self.program.stop()


class Network:
    """All processes of one test. Close it, or use it as a context: nothing outlives it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._programs: list[Program] = []
        self.first_directory: Directory | None = None
        self._home = folder / "home"
        self._home.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """Ours without anything that could change what the programs do."""
        kept = {
            name: value
            for name, value in os.environ.items()
            # An installed program is compiled once, not each time that it starts.
            if not name.startswith(("P2P_", "XDG_", "GRPC_", "LC_", "PYTHONDONTWRITE"))
            and not name.lower().endswith("_proxy")
        }
        return kept | {"HOME": str(self._home), "LANG": "C.UTF-8", "TERM": "dumb", "TZ": "UTC"}

    def start(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Program:
        program = Program(
            command, cwd=cwd or self.folder, environment=environment or self.environment
        )
        self._programs.append(program)
        return program

    def start_server(self, *arguments: str | Path) -> Program:
        """Starts `p2p-server` with these arguments, and waits for nothing."""
        return self.start((SERVER, *arguments))

    def directory(
        self,
        *,
        name: str = "directory",
        listen: str = "127.0.0.1:0",
        lease_seconds: float | None = None,
        insecure: bool = False,
        arguments: Sequence[str] = (),
        prefix: Sequence[str] = (),
    ) -> Directory:
        """Starts a directory and waits until it is ready. The first one is every user's default."""
        lease = () if lease_seconds is None else ("--lease", f"{lease_seconds:g}")
        state = ("--state-dir", str(self.folder / name))
        security = ("--insecure",) if insecure else ()
        all_arguments = (*state, *lease, *security, *arguments)
        directory = self._start_directory(
            listen, all_arguments, insecure=insecure, prefix=tuple(prefix)
        )
        if self.first_directory is None:
            self.first_directory = directory
        return directory

    def restart(self, directory: Directory) -> Directory:
        """Starts the directory anew where it was, as it was; whether it still runs or not."""
        if directory.program.running:
            directory.program.stop()
        again = self._start_directory(
            f"{directory.host}:{directory.port}",
            directory.arguments,
            insecure=directory.insecure,
            prefix=directory.prefix,
        )
        if self.first_directory is directory:
            self.first_directory = again
        return again

    def _start_directory(
        self, listen: str, arguments: tuple[str, ...], *, insecure: bool, prefix: tuple[str, ...]
    ) -> Directory:
        own = ("serve", "--listen", listen, "--log-format", "json")
        command: tuple[str | Path, ...] = (SERVER, *own, *arguments)
        program = self.start((*prefix, *command))
        ready = program.wait_for_event("ready")
        port = int(str(ready["listen"]).rpartition(":")[2])
        host = listen.rpartition(":")[0]
        fingerprint = str(ready["fingerprint"])
        return Directory(program, arguments, host, port, fingerprint, insecure, prefix)

    def user(self, name: str, *, folder: str | None = None, prefix: Sequence[str] = ()) -> User:
        """A user with a state folder of its own.

        Args:
            folder: its name, where one user has several machines.
            prefix: put before each command, such as `ip netns exec` and a namespace.
        """
        return User(self, name, self.folder / "users" / (folder or name), prefix)

    def close(self) -> None:
        """Ends everything. What each printed is shown by pytest, where the test failed."""
        states = [str(program) for program in self._programs]
        for program in reversed(self._programs):
            program.kill()
        print(*states, sep="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
