"""Which directories we believe: trust on first use, as ssh does it.

Kept by address in the state folder; what counts is the fingerprint of the key, so a new certificate
for the same key is no event. A decision is recorded only after a call over the channel that it
pinned has succeeded: the probe alone authorises nothing.

The probe is there because Python's gRPC cannot read a server's certificate: a TLS handshake of our
own fetches it, and it is only ever compared with, or becomes, what a pinned channel insists on.
"""

import asyncio
import json
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path

from p2p_client.config import Address
from p2p_client.errors import DirectoryUnreachable, DirectoryUntrusted, LocalRefusal
from p2p_client.net.identity import (
    DIRECTORY_NAME,
    CertificateUnfit,
    check_profile,
    fingerprint_of,
    parse_fingerprint,
    pem_of,
)
from p2p_client.records import dataclass
from p2p_client.state import alone_with, replace_private

STAGGER_SECONDS = 0.25  # as RFC 8305 has it


class ProbeFailed(Exception):
    """No certificate came; the text says why. `speaks_tls` is False where the answer was no TLS."""

    def __init__(self, message: str, *, speaks_tls: bool = True) -> None:
        super().__init__(message)
        self.speaks_tls = speaks_tls


@dataclass(frozen=True, slots=True)
class TrustDecision:
    """The one certificate to accept from an address now; `first_contact`: nothing was on record."""

    certificate_der: bytes
    fingerprint: str
    first_contact: bool


async def fetch_certificate(host: str, port: int, name: str, timeout_seconds: float) -> bytes:
    """The certificate (DER) shown at an address to somebody who asks for `name`, unverified.

    Raises ProbeFailed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(
                host,
                port,
                ssl=context,
                server_hostname=name,
                happy_eyeballs_delay=STAGGER_SECONDS,  # of a name's addresses, some may be dead
            )
    except TimeoutError:
        raise ProbeFailed("does not answer in time") from None
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError, EOFError):
        raise ProbeFailed("does not speak TLS", speaks_tls=False) from None
    except OSError as error:
        raise ProbeFailed(_plain(error)) from None
    try:
        seen: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        certificate_der = seen.getpeercert(binary_form=True) if seen is not None else None
    finally:
        # Not closed politely: the other side need not answer for us to be done.
        writer.transport.abort()
    if certificate_der is None:
        raise ProbeFailed("shows no certificate")
    return certificate_der


def _plain(error: OSError) -> str:
    """asyncio's own texts carry tuples and call numbers."""
    if isinstance(error, ConnectionRefusedError):
        return "refuses the connection"
    text = error.strerror or str(error)
    if "Connect call failed" in text:
        return "refuses the connection"
    return f"cannot be reached ({text.lower()})"


async def probe(address: Address, timeout_seconds: float) -> bytes:
    """The certificate (DER) that a directory shows. Raises DirectoryUnreachable."""
    try:
        return await fetch_certificate(address.host, address.port, DIRECTORY_NAME, timeout_seconds)
    except ProbeFailed as error:
        if error.speaks_tls:
            raise DirectoryUnreachable(f"the directory {address} {error}") from None
        raise DirectoryUnreachable(
            f"the directory {address} {error}; if it was started with --insecure, so must be we",
            reason="TRANSPORT_MISMATCH",
        ) from None


class KnownDirectories:
    """The fingerprints on record, by address."""

    def __init__(self, state_path: Path) -> None:
        self._file = state_path / "known_directories.json"

    def recorded(self, addresses: Iterable[Address]) -> str | None:
        """The fingerprint of the network that these addresses belong to; None: none is on record.

        Raises DirectoryUntrusted where two of them are on record with different keys, LocalRefusal
        for a damaged record.
        """
        entries = self._read()
        found: str | None = None
        for address in addresses:
            entry = entries.get(str(address))
            if entry is None:
                continue
            if found is not None and entry != found:
                raise DirectoryUntrusted(
                    f"{address} is on record with the key {entry}, another of the addresses with "
                    f"{found}: give only addresses of one directory",
                    found,
                    entry,
                )
            found = entry
        return found

    async def trusted_certificate(
        self,
        address: Address,
        pinned: str | None,
        siblings: Sequence[Address] = (),
        timeout_seconds: float = 5.0,
    ) -> TrustDecision:
        """What the directory shows, if it has the key we expect: the pinned one, else the recorded
        one (of the address, or of `siblings`, other addresses of it), else, on first contact, any.

        Raises DirectoryUntrusted, DirectoryUnreachable; UsageError for a malformed `pinned`.
        """
        recorded = self.recorded([address, *siblings]) if pinned is None else None
        expected = recorded if pinned is None else parse_fingerprint(pinned)
        certificate_der = await probe(address, timeout_seconds)
        try:
            check_profile(certificate_der, DIRECTORY_NAME)
            found = fingerprint_of(certificate_der)
        except CertificateUnfit as error:
            raise DirectoryUnreachable(f"{address} is no directory: {error}") from error
        if expected is not None and found != expected:
            raise DirectoryUntrusted(
                self._refusal(address, expected, found, is_pinned=pinned is not None),
                expected,
                found,
            )
        is_new = self._read().get(str(address)) != found and recorded is None
        return TrustDecision(certificate_der, found, first_contact=is_new)

    def record(self, address: Address, decision: TrustDecision) -> None:
        """Keeps what a call over the pinned channel has confirmed."""
        pem = pem_of(decision.certificate_der).decode()
        entry = {"fingerprint": decision.fingerprint, "certificate": pem}
        if self._read_entries().get(str(address)) == entry:
            return
        try:
            with alone_with(self._file):
                entries = {**self._read_entries(), str(address): entry}
                replace_private(self._file, json.dumps(entries, indent=2).encode() + b"\n")
        except OSError as error:
            raise LocalRefusal(
                f"cannot record the directory's key: {self._file}: {error.strerror}"
            ) from error

    def _refusal(self, address: Address, expected: str, found: str, *, is_pinned: bool) -> str:
        where = "--fingerprint expects" if is_pinned else "on record since the first contact is"
        remedy = (
            "check the fingerprint with its operator"
            if is_pinned
            else f'ask its operator; if the key was changed on purpose, remove "{address}" from '
            f"{self._file} or pass the new one with --fingerprint"
        )
        return (
            f"the directory {address} shows the key {found}, but {where} {expected}: somebody may "
            f"be between you and it; {remedy}"
        )

    def _read(self) -> dict[str, str]:
        return {address: entry["fingerprint"] for address, entry in self._read_entries().items()}

    def _read_entries(self) -> dict[str, dict[str, str]]:
        try:
            content = json.loads(self._file.read_bytes())
            return {
                str(address): {
                    "fingerprint": parse_fingerprint(entry["fingerprint"]),
                    "certificate": str(entry["certificate"]),
                }
                for address, entry in content.items()
            }
        except FileNotFoundError:
            return {}
        except Exception as error:
            # Starting afresh would mean to trust whoever answers next.
            raise LocalRefusal(
                f"{self._file} is damaged: mend it, or remove it to trust the directories anew"
            ) from error
