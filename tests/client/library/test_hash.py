"""Digests are exactly b3sum's, and never of a file that changed while it was read."""

import os
import shutil
import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from p2p_client.content.manifest import Hashing
from p2p_client.library.disk.files import Location, Signature
from p2p_client.library.disk.hash import (
    Gone,
    Hashed,
    Unreadable,
    Unsteady,
    hash_file,
    hash_files,
    media_type_of,
    resource_of,
)
from p2p_client.models import Digest, ManifestDigest

MIB = 1 << 20
SIZES = (0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + MIB // 2)


def hashed(file: Path) -> object:
    return hash_file(file.name, Location(file.parent, file.name), threading.Event(), lambda _: None)


@pytest.mark.skipif(shutil.which("b3sum") is None, reason="b3sum is not installed")
@pytest.mark.parametrize("size_bytes", SIZES)
def test_the_digest_is_what_b3sum_prints(tmp_path: Path, size_bytes: int) -> None:
    file = tmp_path / "f"
    file.write_bytes(os.urandom(size_bytes))
    outcome = hashed(file)

    printed = subprocess.run(["b3sum", "--no-names", file], capture_output=True, check=True)
    assert isinstance(outcome, Hashed)
    assert outcome.digest == printed.stdout.decode().strip()


@pytest.mark.parametrize("size_bytes", SIZES)
def test_the_manifest_is_that_of_the_bytes(tmp_path: Path, size_bytes: int) -> None:
    content = os.urandom(size_bytes)
    (tmp_path / "f").write_bytes(content)
    counted: list[int] = []
    outcome = hash_file("f", Location(tmp_path, "f"), threading.Event(), counted.append)

    expected = Hashing(size_bytes)
    expected.update(content)
    assert isinstance(outcome, Hashed)
    assert (outcome.digest, outcome.manifest) == expected.finish()
    assert sum(counted) == outcome.resource.size_bytes == size_bytes
    assert outcome.resource.manifest_digest == outcome.manifest.digest()


def test_a_file_of_this_very_tick_is_left_to_age_before_it_is_trusted(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x")
    outcome = hashed(file)

    assert isinstance(outcome, Hashed)
    assert time.time_ns() - outcome.signature.ctime_ns >= 50_000_000


@pytest.mark.parametrize("change", ["grow", "shrink", "rewrite", "replace"])
def test_a_file_that_changes_while_it_is_read_gives_no_digest(tmp_path: Path, change: str) -> None:
    file = tmp_path / "f"
    file.write_bytes(bytes(3 * MIB))
    os.utime(file, (1, 1))
    at_once = [lambda: alter(file, change)]

    def meddle(_: int) -> None:
        if at_once:
            at_once.pop()()

    outcome = hash_file("f", Location(tmp_path, "f"), threading.Event(), meddle)

    assert outcome == Unsteady("f")


def alter(file: Path, change: str) -> None:
    if change == "grow":
        with file.open("ab") as stream:
            stream.write(b"x")
    elif change == "shrink":
        os.truncate(file, MIB)
    elif change == "rewrite":
        with file.open("r+b") as stream:
            stream.write(b"y")
        os.utime(file, (1, 1))
    else:
        other = file.with_name("other")
        other.write_bytes(b"z" * (3 * MIB))
        other.replace(file)


def test_what_cannot_be_read_is_told_from_what_is_gone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "folder").mkdir()

    for name in ("missing", "fifo", "link", "folder", "missing/f", "link/f"):
        assert hashed_at(tmp_path, name) == Gone(name)


def hashed_at(top: Path, below: str) -> object:
    return hash_file(below, Location(top, below), threading.Event(), lambda _: None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "f").chmod(0)
    outcome = hashed(tmp_path / "f")

    assert isinstance(outcome, Unreadable)
    assert "Permission denied" in outcome.why


def test_stopping_ends_a_batch_between_two_reads(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(bytes(3 * MIB))
    stop = threading.Event()
    files = [(name, Location(tmp_path, name)) for name in "abc"]
    time.sleep(0.06)  # old enough: what is tested is the stop, not the ageing

    assert hash_files(files, stop, lambda _: stop.set()) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image/jpeg"),
        ("A.JPG", "image/jpeg"),
        ("a.tar.gz", "application/gzip"),
        ("a.svgz", "application/gzip"),
        ("data:text/html,x.png", "image/png"),
        ("noextension", ""),
        (".env", ""),
    ],
)
def test_the_media_type_follows_from_the_name(name: str, kind: str) -> None:
    assert media_type_of(name) == kind


@pytest.mark.parametrize("mtime_ns", [-(1 << 62), 1 << 62, -1, 0])
def test_a_time_that_no_calendar_has_does_no_harm(mtime_ns: int) -> None:
    signature = Signature(1, mtime_ns, 0, 1, 1)
    resource = resource_of("a", signature, Digest("0" * 64), ManifestDigest("0" * 64))

    assert datetime.min.replace(tzinfo=UTC) <= resource.modified_at
