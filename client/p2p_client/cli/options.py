"""The global options: found anywhere on the command line, checked, and made into `Settings`. Pure.

`--server --user --state-dir --fingerprint --insecure --json -v` may stand before or after the
command; `hoist` brings them before it, where the parser expects them.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address
from pathlib import Path

from p2p_client.cli.render import Output
from p2p_client.cli.sizes import parse_size
from p2p_client.config import SLOWEST_BYTES_PER_SECOND, Address, Settings
from p2p_client.errors import UsageError
from p2p_client.records import dataclass

DEFAULT_PORT = 50051

GLOBAL_FLAGS = frozenset({"--insecure", "--json", "-v", "--verbose"})
GLOBAL_VALUES = frozenset({"--server", "--user", "--state-dir", "--fingerprint"})
# Options of commands that take a value: what follows one of these is never an option itself.
COMMAND_VALUES = frozenset(
    {
        "--listen",
        "--advertise",
        "--limit-up",
        "--limit-down",
        "--owner",
        "--glob",
        "--type",
        "--min-size",
        "--max-size",
        "--digest",
        "--limit",
        "--from",
        "-o",
        "--output",
        "-d",
        "--directory",
    }
)

_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def hoist(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into its global options and the rest, both in their order.

    What follows `--`, and the values of options, are left alone.

    Raises:
        UsageError: the last argument is a global option that lacks its value.
    """
    hoisted: list[str] = []
    rest: list[str] = []
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        name, equals, _ = argument.partition("=")
        if argument == "--":
            rest += [argument, *remaining]
            break
        if argument in GLOBAL_FLAGS or (name in GLOBAL_VALUES and equals):
            hoisted.append(argument)
        elif argument in GLOBAL_VALUES:
            if not remaining:
                raise UsageError(f"option {argument} needs a value")
            hoisted += [argument, remaining.pop(0)]
        elif argument in COMMAND_VALUES and remaining:
            rest += [argument, remaining.pop(0)]
        else:
            rest.append(argument)
    return hoisted, rest


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """As typed or taken from the environment; empty strings count as not given."""

    server: str | None = None
    user: str | None = None
    state_dir: Path | None = None
    fingerprint: str | None = None
    insecure: bool | None = None
    json: bool = False
    verbose: bool = False

    @property
    def output(self) -> Output:
        return Output(self.json, self.verbose)

    def settings(
        self,
        *,
        server: str | None = None,
        user: str | None = None,
        listen: str | None = None,
        advertise: Iterable[str] = (),
        limit_up: str | None = None,
        limit_down: str | None = None,
    ) -> Settings:
        """What a peer is started with; the arguments of the command win over the global options.

        Raises:
            UsageError: an address, a user name or a fingerprint that cannot be one.
        """
        servers = server or self.server
        name = user or self.user
        return Settings(
            server=parse_addresses(servers) if servers else None,
            user=parse_user(name) if name else None,
            state_dir=self.state_dir.expanduser() if self.state_dir else None,
            fingerprint=parse_fingerprint(self.fingerprint) if self.fingerprint else None,
            insecure=self.insecure,
            advertise=tuple(parse_address(text, lowest_port=1) for text in advertise),
            listen=parse_address(listen) if listen else Settings().listen,
            limit_up_bytes_per_second=parse_rate(limit_up) if limit_up is not None else None,
            limit_down_bytes_per_second=parse_rate(limit_down) if limit_down is not None else None,
        )


def parse_address(text: str, *, default_port: int | None = None, lowest_port: int = 0) -> Address:
    """HOST:PORT, `[IPv6]:PORT`; without a port where there is a default one.

    Raises:
        UsageError: neither; or a port out of range.
    """
    host, port = _split_port(text.strip())
    if not _is_host(host):
        raise UsageError(f"{text!r} is no address: write HOST:PORT, or [IPv6]:PORT")
    if not port and default_port is not None:
        return Address(host, default_port)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not lowest_port <= int(port) <= 65_535:
        raise UsageError(f"{text!r} lacks a port from {lowest_port} to 65535: write HOST:PORT")
    return Address(host, int(port))


def _is_host(text: str) -> bool:
    """A name or a literal as far as can be told without asking the network."""
    if ":" not in text:
        return bool(text) and not any(c.isspace() or c in "/[]@" for c in text)
    try:
        return bool(IPv6Address(text))
    except ValueError:
        return False


def _split_port(text: str) -> tuple[str, str]:
    """Host without brackets, and port or nothing."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return (host, rest.removeprefix(":")) if rest[:1] in ("", ":") else ("", "")
    if text.count(":") > 1:  # a bare IPv6 literal cannot carry a port
        return text, ""
    host, _, port = text.partition(":")
    return host, port


def parse_addresses(text: str) -> tuple[Address, ...]:
    """One or several directories, `HOST:PORT[,HOST:PORT…]`; each port defaults to 50051."""
    parts = [part for part in text.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"{text!r} names no directory: write HOST:PORT")
    return tuple(parse_address(part, default_port=DEFAULT_PORT, lowest_port=1) for part in parts)


def parse_rate(text: str) -> float:
    """Bytes per second of `20MB`, `512KiB/s`. Raises UsageError for no rate, or one too low."""
    bare = text.strip().removesuffix("/s")
    try:
        bytes_per_second = parse_size(bare)
    except ValueError:
        raise UsageError(
            f"{text!r} is no rate: write it like 500KiB, 20MB or 1.5GiB (a second)"
        ) from None
    if bytes_per_second < SLOWEST_BYTES_PER_SECOND:
        raise UsageError(
            f"a limit of {text!r} is too low: at least {SLOWEST_BYTES_PER_SECOND >> 10}KiB a "
            "second, or leave it out for no limit"
        )
    return float(bytes_per_second)


def parse_user(text: str) -> str:
    if _USER.fullmatch(text) is None:
        raise UsageError(
            f"{text!r} is no user name: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first"
        )
    return text


def parse_fingerprint(text: str) -> str:
    """64 lower-case hex, however it was written."""
    bare = text.replace(":", "").strip().lower()
    if _FINGERPRINT.fullmatch(bare) is None:
        raise UsageError(f"{text!r} is no fingerprint: 64 hexadecimal characters")
    return bare
