"""One download as a process of its own, to be killed: a JSON line an event, then the outcome.

Usage: process.py DIGEST MANIFEST_DIGEST SIZE TARGET LIMIT PORT...
LIMIT: bytes that files may have once the first progress is made; 0: no limit.
"""

import asyncio
import json
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path

from p2p_client.config import Settings
from p2p_client.download.download import Downloader
from p2p_client.download.events import Event, Progress
from p2p_client.errors import PeerError
from p2p_client.models import Digest, Endpoint, Holding, ManifestDigest, PeerId, Source
from p2p_client.net.channels import PeerChannels


def tell(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


async def main(digest: str, manifest_digest: str, size: str, target: str, *rest: str) -> None:
    limit, *ports = map(int, rest)
    holdings = [
        Holding(
            Digest(digest),
            Source(
                PeerId(f"peer-at-port-{port:05}"),
                f"user-{port}",
                (Endpoint("127.0.0.1", port),),
                b"",
                "",
                datetime(9999, 1, 1, tzinfo=UTC),
            ),
            ManifestDigest(manifest_digest),
            int(size),
        )
        for port in ports
    ]

    async def locate(_: Digest) -> list[Holding]:
        return holdings

    def on_event(event: Event) -> None:
        if isinstance(event, Progress):
            tell("progress", verified_bytes=event.verified_bytes)
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    channels = PeerChannels(insecure=True)
    downloader = Downloader(locate, channels, Settings(idle_timeout_seconds=2), patience_seconds=1)
    try:
        finished = await downloader.fetch(
            Digest(digest), Path(target), overwrite=False, on_event=on_event
        )
    except PeerError as error:
        tell("error", kind=type(error).__name__, message=str(error))
    else:
        tell(
            "finished",
            fetched_bytes=finished.fetched_bytes,
            resumed_bytes=finished.resumed_bytes,
        )
    finally:
        await channels.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
