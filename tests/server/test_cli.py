"""p2p-server as its operator meets it: the real program, its output and its exit status."""

import asyncio
import json
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from tests.support.certificates import peer_key_pair
from tests.support.directory.raw import RawDirectory, RawSession, resource
from tests.support.directory.refusals import refusal
from tests.support.programs.network import Network
from tests.support.programs.processes import json_lines

from p2p.v1 import directory_pb2 as pb

pytestmark = pytest.mark.slow


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network


def test_no_command_is_serve_and_the_ready_line_has_address_and_fingerprint(
    network: Network,
) -> None:
    server = network.start_server("--listen", "127.0.0.1:0", "--state-dir", "state")
    server.wait_for_text("directory ready on 127.0.0.1:")

    address, _, fingerprint = (
        server.stdout.strip().removeprefix("directory ready on ").partition(", fingerprint ")
    )
    assert int(address.rpartition(":")[2]) > 0
    assert len(fingerprint) == 64
    assert server.stop().ok


@pytest.mark.parametrize("place", ["before", "after"])
def test_options_are_taken_before_and_after_serve(network: Network, place: str) -> None:
    options = ["--listen", "[::1]:0", "--log-format", "json", "--state-dir", "state"]
    command = [*options, "serve"] if place == "before" else ["serve", *options]

    ready = network.start_server(*command).wait_for_event("ready")

    assert ready["listen"].startswith("[::1]:")


def test_stdout_holds_nothing_but_the_ready_line(network: Network) -> None:
    directory = network.directory()

    ended = directory.program.stop()

    assert [record["event"] for record in ended.records] == ["ready"]
    assert all("level" in json.loads(line) for line in ended.stderr.splitlines())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(network: Network, number: int) -> None:
    directory = network.directory()

    directory.program.signal(number)
    ended = directory.program.wait(within_seconds=5)

    assert ended.status == 0
    assert "Traceback" not in ended.stderr


def test_what_it_keeps_is_private(network: Network) -> None:
    network.directory(name="state")
    folder = network.folder / "state"

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_the_identity_survives_a_restart(network: Network) -> None:
    first = network.directory()

    assert network.restart(first).fingerprint == first.fingerprint


def test_a_second_directory_on_the_port_fails_loudly(network: Network) -> None:
    first = network.directory()

    second = network.start_server("--listen", first.address, "--state-dir", "second").wait()

    assert f"cannot listen at {first.address}" in second.failed(1)
    assert len(second.stderr.splitlines()) == 1


def test_a_port_taken_by_another_program_is_said(network: Network) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ended = network.start_server("--listen", address, "--state-dir", "state").wait()

    assert f"cannot listen at {address}" in ended.failed(1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--lease", "0"),
        ("--lease", "-1"),
        ("--lease", "nan"),
        ("--lease", "inf"),
        ("--lease", "1e9"),
        ("--lease", "soon"),
        ("--listen", "nowhere"),
        ("--listen", "127.0.0.1:70000"),
        ("--listen", "::1:50051"),
        ("--listen", ""),
        ("--store", "mysql://host/db"),
        ("--store", ""),
        ("--log-format", "xml"),
        ("--nonsense",),
        ("dance",),
        ("users", "remove"),
    ],
)
def test_bad_usage_is_said_with_status_2(network: Network, arguments: tuple[str, ...]) -> None:
    ended = network.start_server(*arguments).wait()

    assert ended.failed(2).strip()
    assert not ended.stdout


def test_an_unwritable_state_folder_is_said(network: Network) -> None:
    (network.folder / "file").write_text("not a folder")

    ended = network.start_server("--state-dir", "file/state", "--listen", "127.0.0.1:0").wait()

    assert "file" in ended.failed(1)
    assert len(ended.stderr.splitlines()) == 1


def test_a_corrupt_database_is_said_and_left_alone(network: Network) -> None:
    database = network.folder / "directory.db"
    database.write_bytes(b"this is no database" * 1000)

    ended = network.start_server("--store", "directory.db", "--listen", "127.0.0.1:0").wait()

    assert "directory.db" in ended.failed(1)
    assert len(ended.stderr.splitlines()) == 1
    assert database.read_bytes() == b"this is no database" * 1000


def test_a_broken_identity_is_said(network: Network) -> None:
    network.directory(name="state").program.stop()
    database = apsw.Connection(str(network.folder / "state" / "directory.db"))
    database.execute("UPDATE secrets SET value = x'00' WHERE name = 'identity_key.pem'")
    database.close()

    ended = network.start_server("--state-dir", "state", "--listen", "127.0.0.1:0").wait()

    assert "identity" in ended.failed(1)
    assert len(ended.stderr.splitlines()) == 1


def test_insecure_beyond_loopback_warns(network: Network) -> None:
    loopback = network.directory(name="one", insecure=True)
    beyond = network.directory(name="two", insecure=True, listen="0.0.0.0:0")

    assert "insecure" not in loopback.program.stderr
    beyond.program.wait_for_text("--insecure beyond loopback")


def test_version_and_help(network: Network) -> None:
    version = network.start_server("--version").wait()
    helped = network.start_server("--help").wait()

    assert version.ok
    assert version.stdout.startswith("p2p-server 0.")
    assert helped.ok
    for option in ("--listen", "--state-dir", "--store", "--lease", "--insecure", "--log-format"):
        assert option in helped.stdout
    assert "completion" not in helped.stdout


def test_it_may_open_as_many_files_as_the_system_lets_it(network: Network) -> None:
    directory = network.directory(prefix=("prlimit", "--nofile=128:4096"))

    limits = Path(f"/proc/{directory.program.pid}/limits").read_text()

    (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert line.split()[3:5] == ["4096", "4096"]


async def refused_within(seconds: float, session: RawSession) -> str:
    """The reason why a heartbeat is refused, as soon as one is."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return (await refusal(session.heartbeat())).reason
            except AssertionError:
                await asyncio.sleep(0.05)


async def test_users_are_listed_and_a_removed_one_is_out_within_a_moment(
    network: Network,
) -> None:
    directory = await asyncio.to_thread(network.directory, name="state")
    pair = peer_key_pair()
    async with RawDirectory.at(directory.host, directory.port) as client:
        alice = await client.share("Alice", pair)
        await alice.announce(resource("a.txt"))
        bob = await client.register("bob")

        listed = await asyncio.to_thread(
            lambda: network.start_server("users", "list", "--json", "--state-dir", "state").wait()
        )
        removed = await asyncio.to_thread(
            lambda: network.start_server("users", "remove", "alice", "--state-dir", "state").wait()
        )
        again = await asyncio.to_thread(
            lambda: network.start_server("--state-dir", "state", "users", "remove", "alice").wait()
        )

        assert [record["user"] for record in listed.records] == ["Alice", "bob"]
        assert listed.records[0]["fingerprint"] == pair.fingerprint
        assert removed.ok
        assert "alice" in again.failed(1)
        assert not (await bob.query()).listed_resources
        assert await refused_within(2.0, alice) == "SESSION_UNKNOWN"
        await client.register("alice", peer_key_pair())  # the name is free


def test_users_of_a_directory_that_never_was_are_not_made_up(network: Network) -> None:
    ended = network.start_server("users", "list", "--state-dir", "nowhere").wait()

    assert "nowhere" in ended.failed(1)
    assert not (network.folder / "nowhere").exists()


async def test_a_session_survives_kill_9_of_the_directory(network: Network) -> None:
    first = await asyncio.to_thread(network.directory, lease_seconds=6)
    async with RawDirectory.at(first.host, first.port) as client:
        alice = await client.share("alice")
        await alice.announce(resource("a.txt"), resource("b.txt"))

        first.kill()
        await asyncio.to_thread(network.restart, first)
        async with RawDirectory.at(first.host, first.port) as anew:
            alice.directory = anew
            renewed = await alice.heartbeat()
            found = await alice.query()

    assert renewed.held_revision.counter == 1
    assert [row.resource.path for row in found.listed_resources] == ["a.txt", "b.txt"]
    assert found.peers[0].endpoints


async def test_a_silent_peer_is_gone_after_its_lease_also_after_a_restart(
    network: Network,
) -> None:
    first = await asyncio.to_thread(network.directory, lease_seconds=2)
    async with RawDirectory.at(first.host, first.port) as client:
        alice = await client.share("alice")
        await alice.announce(resource("a.txt"))
        first.kill()
        directory = await asyncio.to_thread(network.restart, first)
        async with RawDirectory.at(first.host, first.port) as anew:
            bob = await anew.register("bob")
            seen_at = asyncio.get_running_loop().time()
            assert (await bob.list_peers()).peers

            while (await bob.list_peers()).peers:
                await bob.heartbeat()
                await asyncio.sleep(0.05)
            gone_at = asyncio.get_running_loop().time()

    assert gone_at - seen_at < 2 + 0.5 + 0.3
    directory.program.wait_for_event("expired")


async def test_the_log_tells_who_came_what_they_announced_and_how_they_went(
    network: Network,
) -> None:
    server = network.start_server("--listen", "127.0.0.1:0", "--state-dir", "state")
    await asyncio.to_thread(server.wait_for_text, "ready on")
    port = int(server.stdout.partition(",")[0].rpartition(":")[2])
    async with RawDirectory.at("127.0.0.1", port) as client:
        alice = await client.share("alice", client_software="laptop 1.0")
        await alice.announce(resource("a.bin", size_bytes=3 << 30), resource("b", size_bytes=1))
        await alice.announce(withdrawn=["b"])
        await alice.leave()
    ended = await asyncio.to_thread(server.stop)

    said = [line.split(" ", 2)[2] for line in ended.stderr.splitlines()]
    assert said[0].startswith("alice registered for the first time from 127.0.0.1 (peer ")
    assert "laptop 1.0" in said[0]
    assert said[1].startswith("alice is listed at 127.0.0.1:")
    assert said[2:] == [
        "alice announced 2 resources, 3.0 GiB",
        "alice withdrew 1",
        "alice left",
        "stopping",
        "stopped",
    ]


async def test_a_hostile_name_cannot_forge_a_record(network: Network) -> None:
    directory = await asyncio.to_thread(network.directory)
    hostile = 'x\n{"event":"left"}\x1b[2J\u202e\x9b'
    async with RawDirectory.at(directory.host, directory.port) as client:
        await client.register("alice", listed=True, client_software=hostile)
    ended = await asyncio.to_thread(directory.program.stop)

    records = json_lines(ended.stderr)
    assert len(records) == len(ended.stderr.splitlines())
    assert hostile in [record.get("client_software") for record in records]
    assert not any(record.get("event") == "left" for record in records)
    assert ended.stderr.replace("\n", "").isprintable()


async def test_calls_that_run_are_finished_when_it_stops(network: Network) -> None:
    directory = await asyncio.to_thread(network.directory)
    async with RawDirectory.at(directory.host, directory.port) as client:
        alice = await client.share("alice")
        many = [resource(f"folder/{i:05}.txt") for i in range(3_000)]
        async with asyncio.TaskGroup() as tasks:
            announce = tasks.create_task(alice.announce(*many))
            await asyncio.sleep(0.03)
            directory.program.signal(signal.SIGTERM)
    ended = await asyncio.to_thread(directory.program.wait)

    assert announce.result().held_revision.counter == 1
    assert ended.status == 0
    assert ended.seconds < 30


async def test_a_stop_of_the_process_is_not_charged_to_peers(network: Network) -> None:
    directory = await asyncio.to_thread(network.directory, lease_seconds=1.5)
    async with RawDirectory.at(directory.host, directory.port) as client:
        alice = await client.share("alice")

        directory.program.pause()
        await asyncio.sleep(2.5)
        directory.program.resume()

        assert (await alice.list_peers()).peers
        await alice.heartbeat()


async def test_verdicts_and_ids_are_on_the_wire_as_documented(network: Network) -> None:
    directory = await asyncio.to_thread(network.directory)
    async with RawDirectory.at(directory.host, directory.port) as client:
        info = await client.info()
        alice = await client.share("alice")

        assert info.directory_id == directory.fingerprint
        assert info.transport_security == pb.TRANSPORT_SECURITY_TLS
        (status,) = await alice.judged()
        assert status.verdict == pb.ENDPOINT_VERDICT_REACHABLE
