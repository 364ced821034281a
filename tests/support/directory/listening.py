"""A place where a peer can be dialled back: it proves its key, or does not, and says no more."""

import asyncio
import ssl
import tempfile
from dataclasses import dataclass

from tests.support.certificates import KeyPair

from p2p.v1 import types_pb2 as types


@dataclass
class Listener:
    """Something that accepts connections, until closed."""

    server: asyncio.Server
    host: str
    port: int

    @property
    def endpoint(self) -> types.Endpoint:
        return types.Endpoint(host=self.host, port=self.port)

    def close(self) -> None:
        self.server.close()


async def listen_as(pair: KeyPair | None, host: str = "127.0.0.1") -> Listener:
    """Shakes hands as the holder of that key (None: accepts and is silent), and says no more."""
    context = None
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2"])
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(pair.key_pem + pair.certificate_pem)
            pem.flush()
            context.load_cert_chain(pem.name)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, host, 0, ssl=context)
    return Listener(server, host, server.sockets[0].getsockname()[1])
