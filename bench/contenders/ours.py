"""Our own programs, in TLS and in plaintext: a directory, a sharer, and `p2p-client get`."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.programs.network import CLIENT, Network

from bench.contenders.contender import Contender

TLS, INSECURE = "p2p-client get (TLS)", "p2p-client get (--insecure)"


@contextlib.contextmanager
def ours_tls(shared: Path, scratch: Path) -> Iterator[Contender]:
    with _ours(TLS, shared, scratch / "tls", insecure=False) as contender:
        yield contender


@contextlib.contextmanager
def ours_insecure(shared: Path, scratch: Path) -> Iterator[Contender]:
    with _ours(INSECURE, shared, scratch / "insecure", insecure=True) as contender:
        yield contender


@contextlib.contextmanager
def _ours(name: str, shared: Path, scratch: Path, *, insecure: bool) -> Iterator[Contender]:
    with quiet_network(scratch) as network:
        network.directory(insecure=insecure)
        sharer, fetcher = network.user("sharer"), network.user("fetcher")
        share = sharer.share(shared, within_seconds=300)
        yield Contender(
            name,
            lambda file, target: [
                *(str(CLIENT), "get", f"sharer:{shared.name}/{file}", "-o", str(target))
            ],
            serving=(share.program.pid,),
            environment=fetcher.environment,
        )


@contextlib.contextmanager
def quiet_network(scratch: Path) -> Iterator[Network]:
    """A network that prints what its programs said only when a measurement failed."""
    network = Network(scratch)
    try:
        yield network
    except BaseException:
        with contextlib.redirect_stdout(sys.stderr):
            network.close()
        raise
    with contextlib.redirect_stdout(None):
        network.close()
