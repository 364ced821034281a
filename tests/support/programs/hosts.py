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
    switch: str
    inside: str  # its end of its link
    outside: str  # the switch's end

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.namespace]

    def limit(self, rate: str) -> None:
        """Limits its link in either direction; `rate` as `tc` writes it, such as "200mbit"."""
        _limit(self.namespace, self.inside, rate)
        _limit(self.switch, self.outside, rate)

    def cut(self) -> None:
        """Pulls the cable: nobody is told, what is sent is lost."""
        _in(self.switch, "link", "set", self.outside, "down")

    def mend(self) -> None:
        _in(self.switch, "link", "set", self.outside, "up")


def why_not(*, limits: bool = False) -> str | None:
    """Why hosts (with limits on their links) cannot be made here, in words; None: they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "tc") if limits else ("ip",):
        if shutil.which(tool) is None:
            return f"network namespaces need `{tool}` (iproute2)"
    probe = f"p2p-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        return "network namespaces cannot be made here"
    try:
        _in(probe, "link", "add", "one", "type", "veth", "peer", "name", "other")
        if limits:
            _limit(probe, "one", "200mbit")
    except RuntimeError as error:
        return f"links between network namespaces cannot be made here: {error}"
    finally:
        _ip("netns", "del", probe)
    return None


@contextlib.contextmanager
def hosts(count: int, rate: str | None = None) -> Iterator[list[Host]]:
    """That many hosts, 10.77.0.1 and up, that reach each other; gone afterwards.

    Args:
        rate: limit of every host's link, see `Host.limit`.
    """
    tag = f"p2p{os.getpid()}"
    switch = f"{tag}-switch"
    made = [_host(tag, switch, number) for number in range(1, count + 1)]
    with contextlib.ExitStack() as cleanup:
        _namespace(switch, cleanup)
        _in(switch, "link", "add", "bridge0", "type", "bridge")
        _in(switch, "link", "set", "bridge0", "up")
        for host in made:
            _namespace(host.namespace, cleanup)
            inside, outside = host.inside, host.outside
            _ip("link", "add", inside, "type", "veth", "peer", "name", outside)
            _ip("link", "set", inside, "netns", host.namespace)
            _ip("link", "set", outside, "netns", switch)
            _in(switch, "link", "set", outside, "master", "bridge0")
            _in(switch, "link", "set", outside, "up")
            _in(host.namespace, "addr", "add", f"{host.address}/24", "dev", inside)
            _in(host.namespace, "link", "set", inside, "up")
            if rate is not None:
                host.limit(rate)
        yield made


def _host(tag: str, switch: str, number: int) -> Host:
    inside, outside = f"v{number}i{os.getpid()}", f"v{number}o{os.getpid()}"
    return Host(f"{tag}-{number}", f"{SUBNET}.{number}", switch, inside, outside)


def _limit(namespace: str, device: str, rate: str) -> None:
    bucket = ("tbf", "rate", rate, "burst", "256kb", "latency", "100ms")
    _run("ip", "netns", "exec", namespace, "tc", "qdisc", "add", "dev", device, "root", *bucket)


def _namespace(name: str, cleanup: contextlib.ExitStack) -> None:
    _ip("netns", "add", name)
    cleanup.callback(_ip, "netns", "del", name)
    _in(name, "link", "set", "lo", "up")


def _in(namespace: str, *arguments: str) -> None:
    _ip("-n", namespace, *arguments)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
