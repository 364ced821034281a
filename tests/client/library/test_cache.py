"""The hash cache answers only for the very file that was hashed, and is never worth a failure."""

import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from p2p_client.library.cache import HashCache
from p2p_client.library.disk.files import Location, Signature
from p2p_client.library.disk.hash import Hashed, hash_file


def hashed(top: Path, name: str, content: bytes) -> Hashed:
    (top / name).write_bytes(content)
    outcome = hash_file(name, Location(top, name), threading.Event(), lambda _: None)
    assert isinstance(outcome, Hashed)
    return outcome


class Told(list[str]):
    def cache(self, file: Path) -> HashCache:
        return HashCache(file, self.append)


def test_what_was_stored_is_found_again_by_another_run(tmp_path: Path) -> None:
    told = Told()
    item = hashed(tmp_path, "f", b"x" * 3_000_000)
    first = told.cache(tmp_path / "cache.db")
    first.store([item])
    first.close()

    second = told.cache(tmp_path / "cache.db")
    digests = (item.digest, item.resource.manifest_digest)
    assert second.lookup([(item.location, item.signature)]) == [digests]
    assert second.manifest(item.digest, 3_000_000, digests[1]) == item.manifest
    second.close()
    assert told == []


@pytest.mark.parametrize("field", ["size_bytes", "mtime_ns", "ctime_ns", "inode", "device"])
def test_a_file_that_differs_in_anything_is_not_known(tmp_path: Path, field: str) -> None:
    item = hashed(tmp_path, "f", b"x")
    cache = Told().cache(tmp_path / "cache.db")
    cache.store([item])
    values = {name: getattr(item.signature, name) for name in Signature.__slots__}
    other = Signature(**values | {field: values[field] + 1})

    assert cache.lookup([(item.location, other)]) == [None]
    cache.close()


def test_what_is_doubtful_is_forgotten_and_nothing_else(tmp_path: Path) -> None:
    doubtful, good = hashed(tmp_path, "f", b"x"), hashed(tmp_path, "g", b"y")
    cache = Told().cache(tmp_path / "cache.db")
    cache.store([doubtful, good])
    cache.forget(doubtful.location)
    cache.forget(Location(tmp_path, "never seen"))

    assert cache.lookup([(doubtful.location, doubtful.signature)]) == [None]
    assert cache.lookup([(good.location, good.signature)]) != [None]
    cache.close()


def test_inodes_beyond_what_sqlite_counts_to_are_kept(tmp_path: Path) -> None:
    item = hashed(tmp_path, "f", b"x")
    huge = Signature(1, -5, 1 << 62, (1 << 64) - 1, (1 << 64) - 1)
    odd = Hashed("f", item.location, huge, item.digest, item.manifest, item.resource)
    cache = Told().cache(tmp_path / "cache.db")
    cache.store([odd])

    assert cache.lookup([(item.location, huge)]) != [None]
    cache.close()


def test_a_manifest_that_is_not_as_expected_is_not_given(tmp_path: Path) -> None:
    item = hashed(tmp_path, "f", b"x" * 3_000_000)
    cache = Told().cache(tmp_path / "cache.db")
    cache.store([item])
    cache.close()
    with sqlite3.connect(tmp_path / "cache.db") as database:
        database.execute("UPDATE manifests SET piece_digests = zeroblob(96)")
    database.close()

    cache = Told().cache(tmp_path / "cache.db")
    assert cache.manifest(item.digest, 3_000_000, item.resource.manifest_digest) is None
    cache.close()


@pytest.mark.parametrize("damage", ["garbage", "another version", "tables missing", "pages"])
def test_a_damaged_cache_is_set_aside_and_made_anew(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "cache.db"
    item = hashed(tmp_path, "f", b"x")
    told = Told()
    if damage == "garbage":
        file.write_bytes(b"not a database, " * 500)
    else:
        cache = told.cache(file)
        cache.store([item])
        cache.close()
        spoil(file, damage)

    cache = told.cache(file)
    assert cache.lookup([(item.location, item.signature)]) == [None]
    cache.store([item])
    assert cache.lookup([(item.location, item.signature)]) != [None]
    cache.close()
    assert (tmp_path / "cache.db.damaged").exists()
    assert len(told) == 1
    assert "set aside" in told[0]


def spoil(file: Path, damage: str) -> None:
    if damage == "pages":
        data = bytearray(file.read_bytes())
        data[4096:] = b"\xa5" * (len(data) - 4096)
        file.write_bytes(data)
        return
    database = sqlite3.connect(file)
    if damage == "another version":
        database.execute("PRAGMA user_version = 99")
    else:
        database.execute("DROP TABLE files")
        database.commit()
    database.close()


def test_without_a_place_to_write_it_goes_on_and_says_so_once(tmp_path: Path) -> None:
    told = Told()
    item = hashed(tmp_path, "f", b"x")
    cache = told.cache(tmp_path / "missing" / "cache.db")

    for _ in range(3):
        cache.store([item])
        assert cache.lookup([(item.location, item.signature)]) == [None]
    assert len(told) == 1


def test_only_the_owner_can_read_the_cache(tmp_path: Path) -> None:
    cache = Told().cache(tmp_path / "cache.db")
    cache.store([hashed(tmp_path, "f", b"x")])

    for file in tmp_path.glob("cache.db*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    cache.close()
