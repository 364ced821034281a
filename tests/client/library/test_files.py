"""Bytes are only ever given from the file that was hashed, found below its root, unchanged."""

import contextlib
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from p2p_client.library.disk.files import Location, Signature, signature_of
from p2p_client.library.disk.reading.hashed import HashedFile
from p2p_client.library.errors import ContentChanged, ContentUnreadable

CONTENT = bytes(range(256)) * 16


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    (top / "sub").mkdir(parents=True)
    (top / "sub" / "f").write_bytes(CONTENT)
    (top / "sub" / "old").write_bytes(b"")  # so that later writes have a later ctime
    return top


def opened(top: Path, below: str = "sub/f") -> HashedFile:
    location = Location(top, below)
    return HashedFile(location, signature_of(location))


def test_any_range_is_read_as_it_is(top: Path) -> None:
    file = opened(top)

    assert file.read(0, len(CONTENT)) == CONTENT
    assert file.read(100, 300) == CONTENT[100:400]
    assert file.read(len(CONTENT), 0) == b""
    file.check()
    file.close()
    file.close()


def rewrite_with_times_kept(file: Path) -> None:
    status = file.stat()
    wait_for_the_next_tick(file)
    with file.open("r+b") as stream:
        stream.write(b"X" * len(CONTENT))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def wait_for_the_next_tick(file: Path) -> None:
    """The kernel's clock for ctime is coarse; see `hash.py` for how that is dealt with."""
    probe = file.with_name("old")
    while probe.stat().st_ctime_ns <= file.stat().st_ctime_ns:
        os.utime(probe)


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(CONTENT)
    other.replace(file)


def swap_for_symlink(file: Path) -> None:
    moved = file.with_name("moved")
    file.rename(moved)
    file.symlink_to("moved")


def swap_folder_for_symlink(file: Path) -> None:
    moved = file.parent.with_name("moved")
    file.parent.rename(moved)
    file.parent.symlink_to("moved")


def swap_for_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


CHANGES: list[Callable[[Path], None]] = [
    lambda file: os.truncate(file, 100),
    lambda file: os.truncate(file, 100_000),
    rewrite_with_times_kept,
    replace,
    Path.unlink,
    swap_for_symlink,
    swap_folder_for_symlink,
    swap_for_fifo,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_not_opened(top: Path, change: Callable[[Path], None]) -> None:
    location = Location(top, "sub/f")
    signature = signature_of(location)
    change(top / "sub" / "f")

    with pytest.raises(ContentChanged):
        HashedFile(location, signature)


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_open_is_noticed(
    top: Path, change: Callable[[Path], None]
) -> None:
    file = opened(top)
    change(top / "sub" / "f")

    with pytest.raises(ContentChanged):
        file.check()
    file.close()


@pytest.mark.parametrize("change", CHANGES[:6])
def test_no_byte_is_read_from_a_file_that_changed(
    top: Path, change: Callable[[Path], None]
) -> None:
    file = opened(top)
    change(top / "sub" / "f")

    with pytest.raises(ContentChanged):
        file.read(0, len(CONTENT))
    file.close()


def test_reading_past_the_end_is_a_change_not_an_endless_loop(top: Path) -> None:
    file = opened(top)
    with pytest.raises(ContentChanged):
        file.read(len(CONTENT) - 1, 2)
    file.close()


def test_a_closed_file_gives_nothing(top: Path) -> None:
    file = opened(top)
    file.close()

    with pytest.raises(ContentUnreadable):
        file.read(0, 1)


def test_closing_during_a_read_frees_the_descriptor_when_the_read_ends(top: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    file = opened(top)
    start = threading.Barrier(9)

    def read() -> None:
        start.wait()
        for _ in range(200):
            try:
                file.read(0, 10)
            except ContentUnreadable:
                return

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    start.wait()
    file.close()
    for thread in threads:
        thread.join()

    assert len(os.listdir("/proc/self/fd")) == before


def test_failing_to_open_leaves_no_descriptor(top: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    wrong = Signature(1, 2, 3, 4, 5)
    for below in ("sub/f", "sub", "sub/f/x", "missing", "missing/f"):
        with pytest.raises(ContentChanged):
            HashedFile(Location(top, below), wrong)

    assert len(os.listdir("/proc/self/fd")) == before


def test_what_the_system_has_in_memory_is_read_at_once(top: Path) -> None:
    with contextlib.closing(opened(top)) as file:
        content = file.read(0, file.size_bytes)  # now it has it

        assert file.read_cached(1, 3, b"head") in (b"head" + content[1:4], None)


def test_what_cannot_be_read_at_once_is_left_to_the_usual_read(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_at_once(*_: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "not in memory")

    with contextlib.closing(opened(top)) as file:
        monkeypatch.setattr(os, "preadv", not_at_once)

        assert file.read_cached(0, 1) is None


def test_nothing_is_read_at_once_from_a_file_that_changed(top: Path) -> None:
    with contextlib.closing(opened(top)) as file:
        file.read(0, 1)
        (top / "sub" / "f").write_bytes(b"something else")

        with pytest.raises(ContentChanged):
            _ = file.read_cached(0, 1) or file.read(0, 1)  # where nothing can be read at once
