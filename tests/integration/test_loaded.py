"""What a command loads: time to start is mostly time to load, so each loads what it needs alone."""

import subprocess
import sys
from collections.abc import Sequence

import pytest
from tests.support.programs.network import CLIENT, Network, User

pytestmark = pytest.mark.slow

# For sharing, the menu and the server; to look up what is known, and to read what is written plain.
NEVER = {
    "apsw",
    "cryptography.x509",
    "ifaddr",
    "importlib.metadata",
    "jwt",
    "p2p_client.library.library",
    "p2p_client.sharing",
    "p2p_client.upload",
    "platformdirs",
    "prometheus_client",
    "rich",
    "watchfiles",
}
TO_FETCH = {"blake3", "h2", "p2p_client.download.download", "p2p_client.net.stream.reader"}
TO_CALL = {"asyncio", "cryptography", "google", "grpc", "p2p", "p2p_client.peer"}


def loaded(user: User, *arguments: str) -> set[str]:
    """The modules, with the packages that they are in."""
    command: Sequence[str] = (sys.executable, "-X", "importtime", str(CLIENT), *arguments)
    ended = subprocess.run(
        command, env=user.environment, cwd=user.folder, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith("import time:")]
    names = {line.rpartition("|")[2].strip() for line in lines}
    return names | {name.partition(".")[0] for name in names}


def test_help_loads_nothing_to_call_with(network: Network) -> None:
    found = loaded(network.user("alice"), "--help")

    assert "typer" in found
    assert not found & (NEVER | TO_FETCH | TO_CALL)


def test_a_search_loads_nothing_to_fetch_with(network: Network) -> None:
    network.directory()
    alice = network.user("alice")
    assert alice.run("search", "x").ok  # has made an identity

    found = loaded(alice, "search", "x")

    assert found >= TO_CALL
    assert not found & (NEVER | TO_FETCH)


def test_a_get_loads_nothing_to_share_with(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.share(alice.file("a.txt", "content"))
    assert bob.run("search", "x").ok  # has made an identity

    found = loaded(bob, "get", "alice:a.txt")

    assert found >= TO_CALL | TO_FETCH
    assert not found & NEVER
