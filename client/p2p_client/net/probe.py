"""A look at the certificate that somebody shows in TLS.

Python's gRPC cannot read a server's certificate, so a handshake of our own fetches it. It verifies
nothing and therefore authorises nothing: what it answers is only compared with, or offered as, what
a pinned channel then insists on.
"""

import asyncio
import ssl


class ProbeFailed(Exception):
    """No certificate came; the text says why. `speaks_tls` is False where the answer was no TLS."""

    def __init__(self, message: str, *, speaks_tls: bool = True) -> None:
        super().__init__(message)
        self.speaks_tls = speaks_tls


async def fetch_certificate(host: str, port: int, name: str, timeout_seconds: float) -> bytes:
    """The certificate (DER) shown at an address to somebody who asks for `name`.

    Raises ProbeFailed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
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
    return "refuses the connection" if "Connect call failed" in text else text.lower()
