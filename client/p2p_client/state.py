"""The peer's state folder: who we are, what we joined, and who may share from here.

Files are private (0600) and replaced atomically, so a crash leaves the old one or the new one. The
folder's other inhabitants (hash cache, known directories) belong to the parts that write them.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from p2p_client.config import Address
from p2p_client.errors import LocalRefusal, UsageError
from p2p_client.models import PeerId
from p2p_client.records import dataclass

_PEER_ID = re.compile(r"[A-Za-z0-9_-]{16,64}")


@dataclass(frozen=True, slots=True)
class Joined:
    """What `join` stored for later runs."""

    server: tuple[Address, ...]
    user: str
    insecure: bool


def default_state_dir() -> Path:
    """P2P_STATE_DIR, else the platform's state folder of this program."""
    if chosen := os.environ.get("P2P_STATE_DIR"):
        return Path(chosen)
    import platformdirs

    return platformdirs.user_state_path("p2p-client")


def replace_private(file: Path, data: bytes) -> None:
    """Puts `data` in the file's place at once and durably, readable by its owner only."""
    temporary = _write_beside(file, data)
    try:
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(file.parent)


def create_private(file: Path, data: bytes) -> None:
    """As `replace_private`, but raises FileExistsError where something is there already."""
    temporary = _write_beside(file, data)
    try:
        # A hard link, unlike a rename, never replaces what another process made meanwhile.
        os.link(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(file.parent)


@contextlib.contextmanager
def alone_with(file: Path) -> Iterator[None]:
    """Held while a file is read and replaced, so that two processes lose neither's change."""
    lock = file.with_name(f"{file.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_beside(file: Path, data: bytes) -> Path:
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class StateFolder:
    """One user's state folder, made (0700) where it is missing.

    Raises LocalRefusal, from every method, where the folder or a file in it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _refusing(path, even_missing=True):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def identity_file(self) -> Path:
        return self.path / "identity.pem"

    @property
    def cache_file(self) -> Path:
        return self.path / "cache.db"

    @property
    def _config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def _peer_id_file(self) -> Path:
        return self.path / "peer_id"

    def joined(self) -> Joined | None:
        """What `join` stored; None: nothing yet."""
        try:
            with _refusing(self._config_file):
                return _decode_joined(self._config_file.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LocalRefusal(
                f"{self._config_file} is damaged: run `p2p-client join` to write it anew"
            ) from error

    def remember(self, joined: Joined) -> None:
        server = [{"host": address.host, "port": address.port} for address in joined.server]
        content = {"server": server, "user": joined.user, "insecure": joined.insecure}
        with _refusing(self._config_file, even_missing=True):
            replace_private(self._config_file, json.dumps(content, indent=2).encode() + b"\n")

    def peer_id(self) -> PeerId:
        """The id under which this folder shares: made once and kept, so the catalog is ours again
        after a restart."""
        file = self._peer_id_file
        with _refusing(file, even_missing=True):
            with contextlib.suppress(FileExistsError):
                if not file.exists():
                    create_private(file, secrets.token_urlsafe(16).encode() + b"\n")
            text = file.read_text("ascii", errors="replace").strip()
        if not _PEER_ID.fullmatch(text):
            raise LocalRefusal(f"{file} is damaged: remove it, and a new id is made")
        return PeerId(text)

    @contextlib.contextmanager
    def sharing_lock(self) -> Iterator[None]:
        """Held while a peer shares from this folder; ends with the process, however that ends.

        Raises UsageError when another process holds it.
        """
        file = self.path / "sharing.lock"
        with _refusing(file):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(file, flags, 0o600)
        try:
            with _refusing(file):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise UsageError(
                        f"another peer already shares from this state folder ({self.path}): "
                        "stop it, or give this one another with --state-dir"
                    ) from None
            yield
        finally:
            os.close(descriptor)


def _decode_joined(data: bytes) -> Joined:
    content = json.loads(data)
    server = tuple(Address(str(at["host"]), int(at["port"])) for at in content["server"])
    user, insecure = content["user"], content["insecure"]
    if not server or not isinstance(user, str) or not isinstance(insecure, bool):
        raise ValueError("a field is missing or of the wrong type")
    if not all(address.host and 0 < address.port <= 65_535 for address in server):
        raise ValueError("an address that cannot be one")
    return Joined(server, user, insecure)


@contextlib.contextmanager
def _refusing(path: Path, *, even_missing: bool = False) -> Iterator[None]:
    """Turns what the disk says into a sentence; a missing file stays FileNotFoundError, unless it
    is missing where we had just made it."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not even_missing:
            raise
        raise LocalRefusal(
            f"the state folder cannot be used: {path}: {error.strerror}; mend it, or choose "
            "another with --state-dir"
        ) from error
