"""Fetching one content to one file: who is asked, when it is done, what is said when it is not."""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from p2p_client.config import Settings
from p2p_client.download.events import Event, Finished
from p2p_client.models import Digest, Holding

if TYPE_CHECKING:
    from p2p_client.net.channels import PeerChannels

Locate = Callable[[Digest], Awaitable[Sequence[Holding]]]


class Downloader:
    """Fetches contents; any number at once."""

    def __init__(self, locate: Locate, channels: "PeerChannels", settings: Settings) -> None:
        self._locate = locate
        self._channels = channels
        self._settings = settings

    async def fetch(
        self,
        digest: Digest,
        target: Path,
        *,
        overwrite: bool,
        on_event: Callable[[Event], None],
    ) -> Finished:
        """Brings the content to `target`, resuming what an earlier run has verified.

        Cancelling it keeps all that was verified. `on_event` is called in the event loop.

        Raises:
            LocalRefusal: the target exists (TargetExists), cannot be written (TargetUnwritable),
                is a folder, or is being downloaded already; before a byte is fetched.
            TransferFailed: no source is left, each named with its reason; or DiskFull. What was
                verified is kept, and the same call resumes.
            DirectoryError: the first Locate failed.
        """
        raise NotImplementedError
