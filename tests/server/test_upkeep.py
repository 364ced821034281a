"""What an operator does: metrics, health, check, backup and restore, with the real program."""

import json
import os
import signal
import socket
import stat
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from tests.support.programs.network import Network, User
from tests.support.programs.processes import Ended

pytestmark = pytest.mark.slow


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network


def operate(network: Network, *arguments: str | Path) -> Ended:
    return network.start_server(*arguments, "--state-dir", network.folder / "directory").wait()


def shared(network: Network, *paths: str) -> User:
    """A user who shares these."""
    alice = network.user("alice")
    for path in paths:
        alice.file(f"docs/{path}", path)
    alice.share("docs")
    return alice


def metrics_of(ready: dict[str, object]) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{ready['metrics']}/metrics") as page:
        lines = page.read().decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_metrics_tell_calls_leases_and_resources(network: Network) -> None:
    directory = network.directory(arguments=("--metrics", "127.0.0.1:0"))
    shared(network, "a.txt")
    network.user("bob").run("get", "nothing-like-it")

    found = metrics_of(directory.program.wait_for_event("ready"))

    assert found['p2p_rpc_handled_total{code="OK",method="Register",reason="OK"}'] == 2
    assert found['p2p_rpc_seconds_count{method="Query"}'] >= 1
    assert found["p2p_leases"] == 1
    assert found['p2p_store_seconds_count{operation="announce"}'] >= 1
    assert {"p2p_peers", "p2p_resources", "p2p_watchers", "p2p_expiries_total"} <= set(found)


def test_a_metrics_port_that_is_taken_is_said(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ended = operate(network, "serve", "--listen", "127.0.0.1:0", "--metrics", address)

    assert f"cannot serve metrics at {address}" in ended.failed(1)
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:70000", ""])
def test_a_metrics_address_that_is_none_is_usage(network: Network, address: str) -> None:
    assert "--metrics" in operate(network, "serve", "--metrics", address).failed(2)


def test_the_library_of_metrics_is_loaded_only_when_asked_for(network: Network) -> None:
    code = "import p2p_server.app, sys; print('prometheus_client' in sys.modules)"

    loaded = network.start((sys.executable, "-c", code)).wait()

    assert loaded.stdout.strip() == "False"


@pytest.mark.parametrize("limit", ["--max-calls", "--max-watchers", "--max-peers-per-user"])
def test_a_negative_limit_is_usage(network: Network, limit: str) -> None:
    operate(network, "serve", limit, "-1").failed(2)


def test_limits_are_settings(network: Network) -> None:
    network.directory(arguments=("--max-resources-per-user", "1"))
    alice = network.user("alice")
    alice.file("docs/a.txt", "a")
    alice.file("docs/b.txt", "b")

    sharing = alice.start("share", "docs")

    sharing.wait_for_text("at most 1 resources")


# --- check ----------------------------------------------------------------------------------------


def test_a_sound_database_is_said_to_be_sound_while_the_directory_runs(network: Network) -> None:
    network.directory()
    shared(network, "a.txt", "b.txt")

    ended = operate(network, "check", "--json")

    assert ended.ok
    (report,) = [json.loads(line) for line in ended.stdout.splitlines()]
    assert report["sound"]
    assert (report["users"], report["peers"], report["resources"]) == (1, 1, 2)
    assert report["schema_version"] == report["known_version"]


def test_a_damaged_database_is_said_to_be_damaged(network: Network) -> None:
    network.directory().program.stop()
    database = network.folder / "directory" / "directory.db"
    connection = apsw.Connection(str(database))
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute(
        "INSERT INTO resources (catalog, path, folded_path, name, size_bytes, digest, "
        "manifest_digest, modified_us, media_type) VALUES (1, 'a', 'a', 'a', 1, x'', x'', 0, '')"
    )
    connection.close()

    ended = operate(network, "check")

    assert "DAMAGED" in ended.stdout
    assert "the search index and the resources differ by 1 rows" in ended.stdout
    assert ended.status == 1


def test_bytes_that_are_no_database_are_said_to_be_none(network: Network) -> None:
    network.directory().program.stop()
    database = network.folder / "directory" / "directory.db"
    database.write_bytes(b"not a database" * 100)

    assert "damaged" in operate(network, "check").failed(1)
    assert database.read_bytes().startswith(b"not a database"), "it was touched"


@pytest.mark.parametrize("command", [("check",), ("backup", "b.db")])
def test_without_a_database_it_is_said(network: Network, command: tuple[str, ...]) -> None:
    assert "there is no directory database" in operate(network, *command).failed(1)


def test_postgresql_has_tools_of_its_own(network: Network) -> None:
    ended = network.start_server("backup", "b.db", "--store", "postgresql://h/d").wait()

    assert "pg_dump" in ended.failed(2)


# --- backup and restore ---------------------------------------------------------------------------


def test_a_backup_of_a_running_directory_brings_back_users_and_listings(network: Network) -> None:
    directory = network.directory()
    alice = shared(network, "a.txt")
    backup = network.folder / "backup.db"

    assert operate(network, "backup", backup).ok
    alice.file("docs/later.txt", "later")
    directory.program.stop()
    restored = operate(network, "restore", backup)
    again = network.restart(directory)

    assert restored.ok
    assert again.fingerprint == directory.fingerprint
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    kept = list((network.folder / "directory").glob("directory.db.before-restore-*"))
    assert kept, "what was there is gone"
    listed = operate(network, "users", "list", "--json")
    assert [json.loads(line)["user"] for line in listed.stdout.splitlines()] == ["alice"]


def test_a_backup_never_takes_the_place_of_a_file(network: Network) -> None:
    network.directory()
    precious = network.folder / "precious.txt"
    precious.write_text("precious")

    ended = operate(network, "backup", precious)

    assert "is there already" in ended.failed(1)
    assert precious.read_text() == "precious"


def test_a_killed_backup_leaves_no_file_of_its_name(network: Network) -> None:
    network.directory()
    missing = network.folder / "nowhere" / "backup.db"

    assert str(missing.parent) in operate(network, "backup", missing).failed(1)
    assert not missing.exists()


def test_nothing_is_restored_under_a_running_directory(network: Network) -> None:
    network.directory()
    backup = network.folder / "backup.db"
    operate(network, "backup", backup)

    assert "another directory runs" in operate(network, "restore", backup).failed(1)


def test_what_is_no_backup_is_not_restored_and_nothing_is_touched(network: Network) -> None:
    network.directory().program.stop()
    database = network.folder / "directory" / "directory.db"
    before = database.read_bytes()
    broken = network.folder / "broken.db"
    broken.write_bytes(before[: len(before) // 2])

    operate(network, "restore", broken).failed(1)

    assert database.read_bytes() == before


def test_a_directory_may_be_moved_to_another_machine(network: Network) -> None:
    first = network.directory()
    backup = network.folder / "backup.db"
    operate(network, "backup", backup)

    moved = network.start_server("restore", backup, "--state-dir", network.folder / "new").wait()
    second = network.directory(name="new")

    assert moved.ok
    assert second.fingerprint == first.fingerprint


# --- stopping -------------------------------------------------------------------------------------


def test_a_stop_with_open_watches_is_quick_and_tells_them(network: Network) -> None:
    directory = network.directory()
    bob = network.user("bob")
    watch = bob.start("watch", "--json")
    watch.wait_for_event("caught_up")

    directory.program.signal(signal.SIGTERM)
    ended = directory.program.wait(within_seconds=5)

    assert ended.status == 0
    assert "Traceback" not in ended.stderr
    assert watch.running, "the watcher waits for the directory to come back"
    os.kill(watch.pid, signal.SIGTERM)
    assert watch.wait().ok
