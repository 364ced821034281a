"""Files that rot in silence: other bytes under an old signature, as a failing disk makes them."""

import threading
from pathlib import Path

import pytest

from p2p_client.library.cache import HashCache
from p2p_client.library.disk.files import Location, signature_of
from p2p_client.library.disk.hash import Hashed, hash_file


def rot(file: Path, offset: int, cache_file: Path) -> Hashed:
    """Flips a bit, and has the hash cache believe that the file is what it was: the change time,
    which no program can put back, would tell otherwise. Returns what is believed."""
    location = Location(file.parent.resolve(), file.name)
    hashed = hash_file(file.name, location, threading.Event(), lambda _: None)
    assert isinstance(hashed, Hashed)
    with file.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0] ^ 0x40
        stream.seek(offset)
        stream.write(bytes([byte]))
    believed = Hashed(
        hashed.path,
        location,
        signature_of(location),
        hashed.digest,
        hashed.manifest,
        hashed.resource,
    )
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    cache = HashCache(cache_file, pytest.fail)
    cache.store([believed])
    cache.close()
    return believed
