"""Several hosts on one machine: network namespaces behind one switch, each with its own loopback.

Needs root and `ip` (iproute2). Nothing leaves the machine: the namespaces are connected to each
other only.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

SUBNET = "10.77.0"


@dataclass(frozen=True, slots=True)
class Host:
    """One namespace; run a command in it by putting `prefix` before it."""

    namespace: str
    address: str

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace]


def why_not() -> str | None:
    """Why hosts cannot be made here, in words; None: they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need `ip` (iproute2)"
    probe = f"p2p-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        return "network namespaces cannot be made here"
    _ip("netns", "del", probe)
    return None


@contextlib.contextmanager
def hosts(count: int, rate: str | None = None) -> Iterator[list[Host]]:
    """That many hosts, 10.77.0.1 and up, that reach each other; gone afterwards.

    Args:
        rate: limit of each host's link in either direction as `tc` writes it, such as "200mbit".
    """
    tag = f"p2p{os.getpid()}"
    switch = f"{tag}-switch"
    made = [Host(f"{tag}-{number}", f"{SUBNET}.{number}") for number in range(1, count + 1)]
    with contextlib.ExitStack() as cleanup:
        _namespace(switch, cleanup)
        _in(switch, "link", "add", "bridge0", "type", "bridge")
        _in(switch, "link", "set", "bridge0", "up")
        for number, host in enumerate(made, 1):
            _namespace(host.namespace, cleanup)
            inside, outside = f"v{number}i{os.getpid()}", f"v{number}o{os.getpid()}"
            _ip("link", "add", inside, "type", "veth", "peer", "name", outside)
            _ip("link", "set", inside, "netns", host.namespace)
            _ip("link", "set", outside, "netns", switch)
            _in(switch, "link", "set", outside, "master", "bridge0")
            _in(switch, "link", "set", outside, "up")
            _in(host.namespace, "addr", "add", f"{host.address}/24", "dev", inside)
            _in(host.namespace, "link", "set", inside, "up")
            if rate is not None:
                _limit(host.namespace, inside, rate)
                _limit(switch, outside, rate)
        yield made


def _limit(namespace: str, device: str, rate: str) -> None:
    bucket = ("tbf", "rate", rate, "burst", "256kb", "latency", "100ms")
    command = ["tc", "qdisc", "add", "dev", device, "root", *bucket]
    subprocess.run(["ip", "netns", "exec", namespace, *command], check=True, capture_output=True)


def _namespace(name: str, cleanup: contextlib.ExitStack) -> None:
    _ip("netns", "add", name)
    cleanup.callback(_ip, "netns", "del", name)
    _in(name, "link", "set", "lo", "up")


def _in(namespace: str, *arguments: str) -> None:
    _ip("-n", namespace, *arguments)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
