"""Somebody with another key where a source is listed: told as what it is, and not tried again."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.certificates import KeyPair, peer_key_pair
from tests.support.downloads.downloads import some_bytes
from tests.support.sources.fake import FAR_FUTURE, digest_of

from p2p_client.config import Settings
from p2p_client.download.download import Downloader
from p2p_client.errors import TransferFailed
from p2p_client.models import Digest, Endpoint, Holding, PeerId, Source
from p2p_client.net.channels import PeerChannels

CONTENT = some_bytes(1_000)
DIGEST, MANIFEST = digest_of(CONTENT)
MOST_CALLERS = 3
"""gRPC's attempt, and a look at what it found; one more, for gRPC may begin a second."""


@dataclass
class Impostor:
    endpoint: Endpoint
    callers: int = 0


@asynccontextmanager
async def impostor(keys: KeyPair, folder: Path) -> AsyncIterator[Impostor]:
    """Speaks TLS with these keys, and counts who comes."""
    (folder / "crt").write_bytes(keys.certificate_pem)
    (folder / "key").write_bytes(keys.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "crt", folder / "key")
    context.set_alpn_protocols(["h2"])
    loop, plain = asyncio.get_running_loop(), Impostor(Endpoint("127.0.0.1", 1))

    class Counted(asyncio.Protocol):
        def __init__(self) -> None:
            plain.callers += 1  # before the handshake, which may fail

    server = await loop.create_server(Counted, "127.0.0.1", 0, ssl=context)
    plain.endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    async with server:
        yield plain


@pytest.mark.slow
async def test_a_source_whose_key_is_another_is_given_up_at_once(tmp_path: Path) -> None:
    listed, shown = peer_key_pair(), peer_key_pair()
    channels = PeerChannels(insecure=False)
    try:
        async with impostor(shown, tmp_path) as there:
            source = Source(
                PeerId("p" * 22), "bob", (there.endpoint,), listed.certificate_der, "", FAR_FUTURE
            )

            async def locate(digest: Digest) -> Sequence[Holding]:
                return [Holding(digest, source, MANIFEST.digest(), len(CONTENT))]

            downloader = Downloader(locate, channels, Settings(), patience_seconds=10)
            with pytest.raises(TransferFailed, match=f"shows the key {shown.fingerprint} instead"):
                await downloader.fetch(
                    DIGEST, tmp_path / "target", overwrite=False, on_event=lambda _: None
                )

            assert 1 <= there.callers <= MOST_CALLERS
    finally:
        await channels.close()
