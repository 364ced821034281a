"""The state folder is private, survives damage with a clear word, and has one sharer."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_client.config import Address
from p2p_client.errors import LocalRefusal, UsageError
from p2p_client.state import (
    Joined,
    StateFolder,
    create_private,
    default_state_dir,
    replace_private,
)

JOINED = Joined((Address("files.lab", 50051), Address("2001:db8::1", 7)), "alice", True)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "deep" / "state")

    assert mode(folder.path) == 0o700


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalRefusal, match="--state-dir"):
        StateFolder(tmp_path / "file")


def test_what_was_joined_is_remembered(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path)
    assert folder.joined() is None

    folder.remember(JOINED)

    assert StateFolder(tmp_path).joined() == JOINED
    assert mode(tmp_path / "config.json") == 0o600


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[1]",
        '{"server": [], "user": "a"}',
        '{"server": [{"host": "h", "port": 99999}], "user": "a", "insecure": false}',
        '{"server": [{"host": "", "port": 1}], "user": "a", "insecure": false}',
        "[" * 100_000,
        "\x00",
    ],
)
def test_a_damaged_config_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(LocalRefusal, match="damaged"):
        StateFolder(tmp_path).joined()


def test_the_peer_id_is_made_once(tmp_path: Path) -> None:
    first = StateFolder(tmp_path).peer_id()

    assert StateFolder(tmp_path).peer_id() == first
    assert 16 <= len(first) <= 64
    assert mode(tmp_path / "peer_id") == 0o600


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalRefusal, match="--state-dir"):
        StateFolder(Path("/proc/nowhere"))
    (tmp_path / "peer_id").symlink_to(tmp_path / "nowhere")
    with pytest.raises(LocalRefusal, match="--state-dir"):
        StateFolder(tmp_path).peer_id()


def test_a_damaged_peer_id_is_said(tmp_path: Path) -> None:
    (tmp_path / "peer_id").write_text("../x\n")
    with pytest.raises(LocalRefusal, match="remove it"):
        StateFolder(tmp_path).peer_id()


def test_a_second_sharer_of_one_folder_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with StateFolder(tmp_path).sharing_lock():
        with pytest.raises(UsageError, match="another peer already shares"):
            with StateFolder(tmp_path).sharing_lock():
                pass

    with StateFolder(tmp_path).sharing_lock():
        pass


def test_the_lock_ends_with_its_process_however_that_ends(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, sys\n"
        "from p2p_client.state import StateFolder\n"
        "with StateFolder(pathlib.Path(sys.argv[1])).sharing_lock():\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run([sys.executable, "-c", program, tmp_path], env=environment)
    assert killed.returncode == -9

    with StateFolder(tmp_path).sharing_lock():
        pass


def test_replacing_leaves_no_stray_file_and_keeps_it_private(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o644)

    replace_private(file, b"new")

    assert file.read_bytes() == b"new"
    assert mode(file) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_creating_never_replaces_nor_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")

    with pytest.raises(FileExistsError):
        create_private(tmp_path / "link", b"x")

    assert os.listdir(tmp_path) == ["link"]


def test_the_environment_chooses_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P2P_STATE_DIR", "/somewhere/else")
    assert default_state_dir() == Path("/somewhere/else")

    monkeypatch.delenv("P2P_STATE_DIR")
    assert default_state_dir().name == "p2p-client"
