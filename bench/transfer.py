"""How long does one verified fetch of one file take, as a whole process, beside other programs?

Everything runs on loopback with the file in the page cache. The programs take turns, so that a
machine whose speed drifts treats them alike; what counts are medians of ratios between neighbours
in one round. Every fetched file is compared with the original.
"""

import contextlib
import filecmp
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.network import CLIENT, Network

OURS_TLS, OURS_INSECURE = "p2p-client get (TLS)", "p2p-client get (--insecure)"


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that fetches the file to a path, verified or not, and how it is called."""

    name: str
    command: Callable[[Path], list[str]]
    environment: dict[str, str]


@dataclass(slots=True)
class Runs:
    seconds: list[float]
    peak_mib: float = 0.0


def measure(size_bytes: int, runs: int) -> str:
    """A Markdown table of all contenders that this machine has."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="p2p-bench-")))
        original = make_file(scratch / "shared" / "file.bin", size_bytes)
        contenders = [
            contender
            for start in (ours, ours_insecure, scp, curl, rsync)
            if (contender := stack.enter_context(start(original, scratch))) is not None
        ]
        results = {contender.name: Runs([]) for contender in contenders}
        for round_number in range(runs + 1):
            for contender in contenders:
                seconds, peak_mib = fetch_once(contender, original, scratch / "out")
                if round_number:  # the first round warms caches and memory up
                    results[contender.name].seconds.append(seconds)
                    results[contender.name].peak_mib = max(
                        results[contender.name].peak_mib, peak_mib
                    )
                print(f"{contender.name:32} {seconds:6.2f} s", file=sys.stderr)
    return as_table(results, size_bytes)


def make_file(path: Path, size_bytes: int) -> Path:
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        block = os.urandom(1 << 20)
        for number in range(-(-size_bytes // len(block))):
            file.write((number.to_bytes(8, "big") + block[8:])[: size_bytes - file.tell()])
    return path


def fetch_once(contender: Contender, original: Path, out: Path) -> tuple[float, float]:
    """Seconds of the whole process, and the most memory that it or a child of it held."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    target = out / "copy.bin"
    begun = time.perf_counter()
    process = subprocess.Popen(
        contender.command(target),
        env=os.environ | contender.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{contender.name} ended with {process.returncode}")
    if not filecmp.cmp(original, target, shallow=False):
        sys.exit(f"{contender.name} delivered other bytes")
    return seconds, usage.ru_maxrss / 1024


def as_table(results: dict[str, Runs], size_bytes: int) -> str:
    lines = [
        f"| {size_bytes >> 20} MiB, one source, whole process | median s | MB/s "
        f"| speed of ours (TLS) to it | speed of ours (--insecure) to it | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        median = statistics.median(runs.seconds)
        ratios = [
            f"{ratio(runs.seconds, results[mine].seconds):.2f}" if mine in results else "–"
            for mine in (OURS_TLS, OURS_INSECURE)
        ]
        lines.append(
            f"| {name} | {median:.2f} | {size_bytes / median / 1e6:.0f} "
            f"| {ratios[0]} | {ratios[1]} | {runs.peak_mib:.0f} MiB |"
        )
    return "\n".join(lines)


def ratio(theirs: list[float], mine: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(theirs, mine, strict=True))


@contextlib.contextmanager
def ours(original: Path, scratch: Path) -> Iterator[Contender | None]:
    with _network(OURS_TLS, original, scratch / "tls", insecure=False) as contender:
        yield contender


@contextlib.contextmanager
def ours_insecure(original: Path, scratch: Path) -> Iterator[Contender | None]:
    with _network(OURS_INSECURE, original, scratch / "insecure", insecure=True) as contender:
        yield contender


@contextlib.contextmanager
def _network(name: str, original: Path, scratch: Path, *, insecure: bool) -> Iterator[Contender]:
    with Network(scratch) as network:
        network.directory(insecure=insecure)
        sharer, fetcher = network.user("sharer"), network.user("fetcher")
        sharer.share(original, within_seconds=120)
        yield Contender(
            name,
            lambda target: [str(CLIENT), "get", f"sharer:{original.name}", "-o", str(target)],
            fetcher.environment,
        )


@contextlib.contextmanager
def scp(original: Path, scratch: Path) -> Iterator[Contender | None]:
    """An sshd of our own with keys of our own; aes-gcm, as both ends choose on such machines."""
    server = shutil.which("sshd") or "/usr/sbin/sshd"
    if not shutil.which("scp") or not Path(server).exists():
        yield None
        return
    home, port = scratch / "ssh", free_port()
    home.mkdir(mode=0o700)
    for key in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / key)], check=True
        )
    (home / "authorized").write_bytes((home / "user.pub").read_bytes())
    (home / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nPidFile none\n"
        f"AuthorizedKeysFile {home}/authorized\nStrictModes no\nUsePAM no\n"
        "Subsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with daemon([server, "-D", "-e", "-f", str(home / "config")], port):
        options = [
            *("-q", "-P", str(port), "-i", str(home / "user")),
            *("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={home}/known"),
        ]
        yield Contender(
            "scp (not verified)",
            lambda target: ["scp", *options, f"127.0.0.1:{original}", str(target)],
            {},
        )


@contextlib.contextmanager
def curl(original: Path, scratch: Path) -> Iterator[Contender | None]:
    """curl from nginx in plaintext, then b3sum of what came."""
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not shutil.which("curl") or not shutil.which("b3sum") or not Path(nginx).exists():
        yield None
        return
    home, port = scratch / "nginx", free_port()
    home.mkdir()
    (home / "nginx.conf").write_text(
        f"daemon off; pid {home}/pid; error_log {home}/error.log; worker_processes 1;\n"
        "events {}\n"
        "http { access_log off; sendfile on; tcp_nopush on;\n"
        f"  client_body_temp_path {home}/a; proxy_temp_path {home}/b; fastcgi_temp_path {home}/c;\n"
        f"  uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;\n"
        f"  server {{ listen 127.0.0.1:{port}; root {original.parent}; }} }}\n"
    )
    if os.getuid() == 0:
        for folder in (scratch, original.parent):
            folder.chmod(0o755)
    with daemon([nginx, "-p", str(home), "-c", str(home / "nginx.conf")], port):
        url = f"http://127.0.0.1:{port}/{original.name}"
        yield Contender(
            "nginx → curl, then b3sum",
            lambda target: [
                *("sh", "-c", 'curl -s -o "$1" "$2" && b3sum "$1"'),
                *("sh", str(target), url),
            ],
            {},
        )


@contextlib.contextmanager
def rsync(original: Path, scratch: Path) -> Iterator[Contender | None]:
    """From an rsync daemon in plaintext; rsync verifies what it sends."""
    if not shutil.which("rsync"):
        yield None
        return
    home, port = scratch / "rsync", free_port()
    home.mkdir()
    (home / "rsyncd.conf").write_text(
        f"port = {port}\naddress = 127.0.0.1\nuse chroot = no\npid file = {home}/pid\n"
        f"[shared]\npath = {original.parent}\nread only = yes\n"
    )
    command = ["rsync", "--daemon", "--no-detach", f"--config={home / 'rsyncd.conf'}"]
    with daemon(command, port):
        url = f"rsync://127.0.0.1:{port}/shared/{original.name}"
        yield Contender("rsync daemon", lambda target: ["rsync", url, str(target)], {})


@contextlib.contextmanager
def daemon(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{command[0]} did not start")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
