"""libtorrent: one process seeds, another, a whole Python program, fetches and verifies."""

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from bench.contenders.contender import Contender, Missing
from bench.support.processes import daemon, free_port

V1, V2 = "libtorrent, one seeder (SHA-1)", "libtorrent, one seeder (v2: SHA-256)"
PEER = Path(__file__).with_name("torrent_peer.py")


@contextlib.contextmanager
def libtorrent_v1(shared: Path, scratch: Path) -> Iterator[Contender]:
    with _libtorrent(V1, "v1", shared, scratch) as contender:
        yield contender


@contextlib.contextmanager
def libtorrent_v2(shared: Path, scratch: Path) -> Iterator[Contender]:
    with _libtorrent(V2, "v2", shared, scratch) as contender:
        yield contender


@contextlib.contextmanager
def _libtorrent(name: str, kind: str, shared: Path, scratch: Path) -> Iterator[Contender]:
    if importlib.util.find_spec("libtorrent") is None:
        raise Missing("libtorrent (.venv/bin/pip install -e '.[bench]')")
    home, port = scratch / f"torrent-{kind}", free_port()
    home.mkdir()
    script = [sys.executable, str(PEER)]
    for file in shared.iterdir():
        subprocess.run(
            [*script, "make", kind, str(file), str(_torrent(home, file.name))], check=True
        )
    with daemon([*script, "seed", str(port), str(shared), str(home)], port) as pid:
        yield Contender(
            name,
            lambda file, target: [
                *(*script, "fetch", str(port), str(_torrent(home, file)), str(target))
            ],
            serving=(pid,),
            version=f"libtorrent {version('libtorrent')}",
        )


def _torrent(home: Path, file: str) -> Path:
    return home / f"{file}.torrent"
