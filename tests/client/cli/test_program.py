"""The program as a process, where no directory is needed: help, mistakes, identity, digests."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from tests.support.programs.network import CLIENT, Network, User

pytestmark = pytest.mark.slow

HEAVY = ("rich", "grpc", "cryptography", "google", "apsw", "watchfiles", "asyncio", "blake3")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network


@pytest.fixture
def alice(network: Network) -> User:
    return network.user("alice")


def modules_of(alice: User, *arguments: str) -> set[str]:
    """The top-level modules that a command line makes the interpreter import."""
    ended = alice.run(*arguments, environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert ended.ok
    lines = (line for line in ended.stderr.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("arguments", [("--help",), ("get", "--help"), ("--version",)])
def test_help_and_version_import_nothing_heavy(alice: User, arguments: tuple[str, ...]) -> None:
    modules = modules_of(alice, *arguments)

    assert "typer" in modules
    assert not modules & set(HEAVY)


def test_digests_need_no_network_stack(alice: User) -> None:
    alice.file("a", "a")

    assert not modules_of(alice, "id", "a") & {"rich", "grpc", "cryptography", "google", "asyncio"}


def test_help_lists_the_commands(alice: User) -> None:
    ended = alice.run("--help")

    assert ended.ok
    for command in ("join", "share", "search", "watch", "peers", "get", "id", "menu"):
        assert f"\n  {command} " in ended.stdout


def test_without_a_command_and_a_terminal_it_helps_and_fails(alice: User) -> None:
    ended = alice.run()

    assert "Usage: p2p-client" in ended.failed(2)
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nosuch",), "no such command 'nosuch'"),
        (("serach",), "Did you mean 'search'"),
        (("get",), "missing argument"),
        (("get", "x", "--nosuch"), "no such option: --nosuch"),
        (("get", "x", "-o", "a", "-d", "b"), "-o and -d exclude each other"),
        (("get", "x", "--from", "a b"), "no user name"),
        (("get", "x", "--user"), "option --user needs a value"),
        (("search", "--limit", "-1"), "--limit -1"),
        (("search", "--limit", "x"), "--limit"),
        (("search", "--min-size", "12q"), "'12q' is no size"),
        (("search", "--min-size", "-5"), "'-5' is no size"),
        (("search", "--min-size", "2k", "--max-size", "1k"), "above --max-size"),
        (("search", "--digest", "b3:1234567"), "8 to 64 hexadecimal"),
        (("search", "--digest", "b3:" + "x" * 8), "8 to 64 hexadecimal"),
        (("share",), "missing argument"),
        (("share", ""), "a PATH is empty"),
        (("share", "x", ""), "a PATH is empty"),
        (("share", "x", "--listen", "nowhere"), "HOST:PORT"),
        (("share", "x", "--advertise", "h:0"), "port from 1"),
        (("share", "x", "--limit-up", "1kB"), "too low"),
        (("peers", "--server", "h:99999"), "port from 1"),
        (("peers", "--user", "-x"), "no user name"),
        (("peers", "--fingerprint", "abc"), "64 hexadecimal"),
        (("identity",), "missing command"),
        (("join", "h:1:2"), "HOST:PORT"),
        (("search",), "--server"),  # nothing joined, nothing given
    ],
)
def test_a_mistake_is_one_sentence_and_one_event(
    alice: User, arguments: tuple[str, ...], sentence: str
) -> None:
    ended = alice.run("--json", *arguments)

    assert sentence in ended.failed(2)
    assert len(ended.stderr.splitlines()) == 1
    error = ended.event("error")
    assert (error["code"], error["reason"]) == (2, "USAGE")
    assert ended.records == [error]


def test_the_digest_is_that_of_b3sum(alice: User) -> None:
    small, empty = b"hello" * 1000, b""
    large = os.urandom(1 << 20) * 10 + b"end"
    for name, content in (("small", small), ("empty", empty), ("large file", large)):
        alice.file(name, content)

    ended = alice.run("id", "small", "empty", "large file")

    assert ended.ok
    assert ended.stdout.splitlines() == [
        f"b3:{blake3(small).hexdigest()}  small",
        f"b3:{blake3(empty).hexdigest()}  empty",
        f"b3:{blake3(large).hexdigest()}  large file",
    ]


def test_files_that_cannot_be_read_do_not_hide_the_others(alice: User) -> None:
    alice.file("good", b"x")
    alice.file("folder/inside", b"x")

    ended = alice.run("id", "missing", "good", "folder", "--json")

    assert [line.partition(":")[0] for line in ended.failed(7).splitlines()] == ["p2p-client"] * 2
    first, good, folder = ended.records
    assert (first["event"], first["code"]) == ("error", 7)
    assert good == {"path": "good", "digest": f"b3:{blake3(b'x').hexdigest()}", "size_bytes": 1}
    assert "folder" in folder["message"]


@pytest.mark.parametrize("name", ["esc\x1b]0;title\x07", "new\nline", "rtl\u202egpj.exe", "\udcff"])
def test_no_name_on_disk_steers_the_terminal(alice: User, name: str) -> None:
    alice.file(name, b"x")

    for arguments in (("id", name), ("id", name, "--json"), ("id", f"{name}-missing")):
        ended = alice.run(*arguments)

        printed = ended.stdout + ended.stderr
        assert len(printed.splitlines()) == 1
        assert printed.rstrip("\n").isprintable()


def test_an_identity_is_made_once_and_moves_with_its_file(network: Network, alice: User) -> None:
    shown = alice.run("identity", "show", "--json").records[0]
    assert alice.run("identity", "show", "--json").records == [shown]
    assert shown["server"] is None

    exported = alice.run("identity", "export", "me.pem")
    assert exported.ok
    assert (alice.folder / "me.pem").stat().st_mode & 0o777 == 0o600
    assert "me.pem" in alice.run("identity", "export", "me.pem").failed(7)

    laptop = network.user("alice", folder="laptop")
    assert laptop.run("identity", "import", alice.folder / "me.pem").ok
    assert (
        laptop.run("identity", "show", "--json").records[0]["fingerprint"] == shown["fingerprint"]
    )


def test_another_key_is_not_replaced_by_an_import(network: Network, alice: User) -> None:
    other = network.user("bob")
    for user in (alice, other):
        assert user.run("identity", "show").ok
    assert alice.run("identity", "export", "me.pem").ok
    before = other.run("identity", "show").stdout

    assert other.run("identity", "import", alice.folder / "me.pem").failed(7)

    assert other.run("identity", "show").stdout == before


def test_exporting_needs_a_key_and_importing_a_file(alice: User) -> None:
    assert "no key" in alice.run("identity", "export", "me.pem").failed(7)
    alice.file("junk.pem", b"junk")
    for name in ("junk.pem", "missing.pem"):
        assert name in alice.run("identity", "import", name).failed(7)


@pytest.mark.parametrize("command", [("search",), ("share", "."), ("menu",)])
def test_a_directory_that_is_not_there_is_told_in_time(
    alice: User, command: tuple[str, ...]
) -> None:
    ended = alice.run(*command, "--server", "127.0.0.1:1")

    assert "127.0.0.1:1" in ended.failed(5)
    assert ended.seconds < 15
    assert len(ended.stderr.splitlines()) <= 2


def test_a_closed_reader_is_not_worth_a_word(alice: User) -> None:
    names = [f"file-{number}" for number in range(3_000)]
    for name in names:
        alice.file(name, b"")

    with subprocess.Popen(
        [CLIENT, "id", *names],
        cwd=alice.folder,
        env=alice.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline().startswith(b"b3:")
        program.stdout.close()

        assert program.stderr.read() == b""
        assert program.wait(30) == 141


def test_ctrl_c_ends_with_130_and_a_sentence(alice: User) -> None:
    program = alice.start("id", "/dev/zero", "--json")

    # It reads for ever; wait until it does.
    deadline = time.monotonic() + 20
    while "/dev/zero" not in open_files(program.pid):
        assert time.monotonic() < deadline, str(program)
        time.sleep(0.02)
    ended = program.interrupt()

    assert ended.failed(130) == "p2p-client: interrupted\n"
    assert ended.event("error")["code"] == 130


def open_files(pid: int) -> set[str]:
    folder = Path(f"/proc/{pid}/fd")
    return {os.readlink(link) for link in folder.iterdir() if link.is_symlink()}


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_encoding_of_the_terminal_makes_it_fail(alice: User, encoding: str) -> None:
    alice.file("日本.txt", b"")

    ended = alice.run("id", "日本.txt", environment={"PYTHONIOENCODING": encoding})

    assert ended.ok


def test_json_is_flushed_line_by_line_for_whoever_reads_along(alice: User) -> None:
    alice.file("a", b"a")

    program = alice.start("id", "--json", "a", "/dev/zero")

    program.wait_for(lambda p: json.loads(p.stdout) if p.stdout else None)
    program.kill()
