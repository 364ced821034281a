"""How the programs start and end at awkward moments."""

import signal
import subprocess
from pathlib import Path

import pytest
from tests.support.programs.network import CLIENT, SERVER, Network
from tests.support.programs.processes import eventually

pytestmark = pytest.mark.slow


def test_a_second_directory_on_one_state_folder_is_refused(network: Network) -> None:
    """Each would end the leases that the other one keeps."""
    directory = network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "a")
    alice.share("a.txt")
    state = ("--state-dir", str(network.folder / "directory"))

    second = network.start_server("--listen", "127.0.0.1:0", *state).wait()

    assert "another directory runs" in second.failed(1)
    assert directory.program.running
    assert len(bob.search()) == 1
    assert network.start_server("users", "list", *state).wait().ok
    directory.kill()
    network.restart(directory)  # a killed one leaves no lock behind
    assert bob.run("peers").ok


@pytest.mark.parametrize("delay_seconds", [0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_leaves_no_traceback(
    network: Network, number: signal.Signals, delay_seconds: float
) -> None:
    folder = network.folder
    for command in (
        [CLIENT, "--server", "127.0.0.1:9", "--user", "u", "share", "."],
        [SERVER, "--listen", "127.0.0.1:0", "--state-dir", "s"],
    ):
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            env=network.environment | {"P2P_STATE_DIR": str(folder / "c")},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        # While the interpreter itself is loading, a signal gets its answer and not ours.
        eventually(lambda pid=process.pid: catches(pid, signal.SIGTERM))  # type: ignore[misc]  # mypy#10740
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(delay_seconds)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)

        assert b"Traceback" not in stderr
        assert b"never awaited" not in stderr
        assert process.returncode in (0, 130), stderr


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for it, which the interpreter alone has for SIGINT only."""
    status = Path(f"/proc/{pid}/status").read_text()
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_closed_standard_streams_are_no_internal_error(network: Network) -> None:
    network.directory()
    alice = network.user("alice")

    for redirection in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" search {redirection}', str(CLIENT)],
            env=alice.environment,
            cwd=alice.folder,
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 0, done.stderr
        assert "internal" not in done.stderr


def test_no_key_is_shared_with_the_folder_that_it_lies_in(network: Network) -> None:
    directory = network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    home = alice.folder / "home"
    alice.file("home/open.txt", "open")
    old = {"P2P_STATE_DIR": str(home / "old")}
    assert alice.run("join", directory.address, "--user", "old", environment=old).ok
    assert (home / "old" / "identity.pem").exists()

    sharer = alice.share("home")

    assert [row["path"] for row in bob.search()] == ["home/open.txt"]
    assert "home/old" in sharer.program.stderr
