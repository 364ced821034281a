"""A real PostgreSQL for tests: a cluster of its own in a temporary folder, gone with the tests.

PostgreSQL refuses to run as root; where the tests do, it runs as the user that its package made, or
else as nobody. It listens at a socket in its folder and at a loopback port.
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

START_SECONDS = 60.0
_USERS = ("postgres", "nobody")
_names = count()


def programs() -> Path | None:
    """The folder of the newest PostgreSQL's programs; None: there is none."""
    places = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda place: int(place.parent.name) if place.parent.name.isdigit() else 0,
        reverse=True,
    )
    found = shutil.which("initdb")
    if found is not None:
        places.insert(0, Path(found).resolve().parent)
    for place in places:
        if all((place / name).exists() for name in ("initdb", "postgres", "psql")):
            return place
    return None


# Not `subprocess`'s own `user`: for that it forks, and what gRPC does in the fork of a process that
# it works in ends the child now and then.
_AS_USER = (
    "import os, sys; os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1])); "
    "os.execv(sys.argv[3], sys.argv[3:])"
)


class Cluster:
    """One server. Not started by making it."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self.folder = folder
        self._bin = bin_folder
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        account = _account() if os.getuid() == 0 else None
        self._as_user: tuple[str, ...] = ()
        if account is not None:
            ids = str(account.pw_uid), str(account.pw_gid)
            self._as_user = (sys.executable, "-IS", "-c", _AS_USER, *ids)
            os.chown(folder, account.pw_uid, account.pw_gid)

    def create(self) -> None:
        self._run(
            *self._as_user,
            self._bin / "initdb",
            *("--pgdata", self._data, "--username", "directory", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"),
        )

    def start(self) -> None:
        """Starts the server, at the port where it was before if it was, and waits for it."""
        self.port = self.port or _free_port()
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",  # it is never the machine that crashes
            "max_connections": 200,
            "shared_buffers": "64MB",
            "client_connection_check_interval": "1s",
        }
        arguments = [word for item in settings.items() for word in ("-c", f"{item[0]}={item[1]}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, self._bin / "postgres", "-D", self._data, *arguments],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not come up"
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, but in order; connections are cut."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a crash does."""
        self._end(signal.SIGQUIT)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        process.wait(START_SECONDS)

    def pause(self) -> None:
        """It keeps its sockets and answers nothing."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for pid in (self._process.pid, *map(int, children.read_text().split())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def database(self, **options: str) -> str:
        """The URL of a new, empty database."""
        name = f"d{next(_names)}_{os.getpid()}"
        more = " ".join(f"{option} = {value}" for option, value in options.items())
        self.sql(f"CREATE DATABASE {name} {'TEMPLATE template0 ' + more if more else ''}")
        return f"postgresql://directory@127.0.0.1:{self.port}/{name}"

    def drop(self, url: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def sql(self, statement: str, url: str = "") -> str:
        """What `psql` prints for a statement."""
        database = url.rpartition("/")[2] or "postgres"
        return self._run(
            self._bin / "psql",
            *("--host", self.folder, "--port", str(self.port), "--username", "directory"),
            *("--no-psqlrc", "--quiet", "--tuples-only", "--no-align"),
            *("--set", "ON_ERROR_STOP=1", "--command", statement, database),
        )

    def _answers(self) -> bool:
        try:
            self.sql("SELECT 1")
        except subprocess.CalledProcessError:
            return False
        return True

    def _run(self, *command: str | Path) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=True,
        )
        return done.stdout.strip()


def _account() -> pwd.struct_passwd:
    """Whom PostgreSQL runs as where the tests run as root."""
    for name in _USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("there is no user but root")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def a_cluster() -> Iterator[Cluster]:
    """A server that runs within the block; a database in it is one's own."""
    place = programs()
    assert place is not None
    # Not below pytest's folders: those are closed to other users, and too long for a socket.
    with tempfile.TemporaryDirectory(prefix="p2p-pg-") as folder:
        cluster = Cluster(Path(folder), place)
        cluster.create()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.kill()
