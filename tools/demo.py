"""The main job before your eyes: `make demo`.

Starts a real directory and two real sharing users in a temporary folder, then acts as a third user
with the same commands that a person would type. Every line after `$` is run as shown. Exits with 0
only when every step did what it should; cleans up whatever happens.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

BIN = Path(sys.executable).parent
BIG_BYTES = 512 << 20
STEP_TIMEOUT_SECONDS = 120

BOLD, DIM, RESET = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


def say(text: str) -> None:
    print(f"\n{BOLD}== {text}{RESET}", flush=True)


def check(holds: bool, claim: str) -> None:
    print(f"   {'ok' if holds else 'FAILED'}: {claim}", flush=True)
    if not holds:
        sys.exit(1)


class Person:
    """A user at a terminal: a state folder and a working folder of their own."""

    def __init__(self, name: str, scratch: Path) -> None:
        self.name = name
        self.home = scratch / name
        self.home.mkdir()
        self.environment = os.environ | {
            "P2P_STATE_DIR": str(scratch / f"{name}.state"),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "COLUMNS": "110",
        }
        for variable in ("P2P_SERVER", "P2P_USER", "P2P_INSECURE"):
            self.environment.pop(variable, None)

    def show(self, command: str) -> None:
        print(f"{DIM}{self.name}{RESET} $ {command}", flush=True)

    def run(self, command: str, expect: int = 0) -> str:
        self.show(command)
        done = subprocess.run(
            shlex.split(command),
            cwd=self.home,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=STEP_TIMEOUT_SECONDS,
            check=False,
        )
        print("".join(f"   {line}\n" for line in done.stdout.splitlines()), end="", flush=True)
        if done.returncode != expect:
            check(False, f"exit status {expect} (it was {done.returncode})")
        return done.stdout

    def start(self, command: str) -> "subprocess.Popen[str]":
        self.show(f"{command} &")
        return subprocess.Popen(
            shlex.split(command),
            cwd=self.home,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )


@contextlib.contextmanager
def running(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """Stops the process as a person would, and by force where that does not help."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def ready(process: "subprocess.Popen[str]") -> dict[str, object]:
    """The first `ready` event of a program that was started with JSON output."""
    assert process.stdout is not None
    alarm = threading.Timer(STEP_TIMEOUT_SECONDS, process.kill)
    alarm.start()
    try:
        for line in process.stdout:
            with contextlib.suppress(json.JSONDecodeError):
                event = json.loads(line)
                if event.get("event") == "ready":
                    return dict(event)
    finally:
        alarm.cancel()
    sys.exit("the program ended before it was ready")


def make_files(alice: Person, bob: Person) -> None:
    (alice.home / "test.txt").write_text("this is Alice's test\n")
    (bob.home / "test.txt").write_text("this is Bob's test, and it is another file\n")
    with (bob.home / "film.mkv").open("wb") as film:
        block = os.urandom(1 << 20)
        for number in range(BIG_BYTES >> 20):
            film.write(number.to_bytes(8, "big") + block[8:])


def kill_half_way(carol: Person, command: str) -> int:
    """Runs a download, kills it with SIGKILL once about half is verified; how much that was."""
    process = carol.start(command)
    with running(process):
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            verified = int(event.get("verified_bytes", 0))
            if event["event"] == "finished":
                return 0
            if verified > BIG_BYTES * 0.4:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return verified
    return 0


def demo(scratch: Path) -> None:
    operator, alice, bob, carol = (
        Person(name, scratch) for name in ("operator", "alice", "bob", "carol")
    )
    make_files(alice, bob)

    with contextlib.ExitStack() as stack:
        say("An operator starts the directory")
        serve = "p2p-server serve --listen 127.0.0.1:0 --state-dir state --log-format json"
        directory = ready(stack.enter_context(running(operator.start(serve))))
        address = str(directory["listen"])
        print(f"   ready on {address}, fingerprint {directory['fingerprint']}")

        say("Alice and Bob join and share; both have a test.txt, and they differ")
        sharing = {}
        for person, shared in ((alice, "test.txt"), (bob, "test.txt film.mkv")):
            person.run(f"p2p-client join {address} --user {person.name}")
            process = person.start(f"p2p-client share {shared} --json")
            sharing[person.name] = stack.enter_context(running(process))
            event = ready(process)
            print(f"   ready: {event['resources']} resource(s) at {event['endpoint']}")

        say("Carol joins and looks around")
        carol.run(f"p2p-client join {address} --user carol")
        carol.run("p2p-client peers")
        carol.run("p2p-client search")

        say("The name test.txt stands for two different files: she has to choose")
        carol.run("p2p-client get test.txt", expect=4)
        check(not (carol.home / "test.txt").exists(), "nothing was written")
        carol.run("p2p-client get test.txt --from alice")
        check(
            (carol.home / "test.txt").read_text().startswith("this is Alice"), "Alice's file came"
        )
        found = json.loads(carol.run("p2p-client search --owner bob test --json"))
        carol.run(f"p2p-client get {found['digest']} -o bobs-test.txt")
        check(
            (carol.home / "bobs-test.txt").read_text().startswith("this is Bob"), "Bob's, by digest"
        )

        say("A download is killed half way; the same command fetches only the rest")
        kept = kill_half_way(carol, "p2p-client get bob:film.mkv --json")
        print(f"   killed with SIGKILL when {kept >> 20} of {BIG_BYTES >> 20} MiB were verified")
        again = carol.run("p2p-client get bob:film.mkv --json").splitlines()
        finished = json.loads(again[-1])
        check(
            kept == 0 or finished["resumed_bytes"] > 0,
            f"{finished['resumed_bytes'] >> 20} MiB kept",
        )
        check(finished["size_bytes"] == BIG_BYTES, "the file is whole")
        print(
            f"   the other {finished['fetched_bytes'] >> 20} MiB took {finished['seconds']:.1f} s"
        )
        theirs, ours = bob.run("p2p-client id film.mkv"), carol.run("p2p-client id film.mkv")
        check(theirs == ours, "digests are equal")
        strays = [path.name for path in carol.home.iterdir() if path.name.startswith(".")]
        check(not strays, "no stray file is left")

        say("Bob stops sharing (SIGTERM); his files are gone from answers at once")
        sharing["bob"].terminate()
        check(sharing["bob"].wait(10) == 0, "he left cleanly")
        check("bob" not in carol.run("p2p-client search"), "only Alice's file is listed")
        say("Now the others stop as well, and the temporary folder goes")
    print("   done")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="p2p-demo-") as scratch:
        demo(Path(scratch))


if __name__ == "__main__":
    main()
