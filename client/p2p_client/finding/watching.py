"""A watch that outlives connections, sessions and restarts of the directory.

Resumes where it was cut. Where the directory cannot, it says so by an event (STARTED_ANEW), and so
do we where our own token is refused: whoever keeps a state by these events forgets it then.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable

from p2p_client.errors import DirectoryError, DirectoryRefused, DirectoryUnreachable, UsageError
from p2p_client.models import Happened, WatchEvent
from p2p_client.net.directory.watch import OpenWatch

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
_PASSING = frozenset(
    {"WATCH_TOO_SLOW", "OVERLOADED", "STORE_UNAVAILABLE", "TOO_MANY_WATCHERS", "INTERNAL"}
)

Open = Callable[[str], Awaitable[OpenWatch]]


async def watch(open_at: Open) -> AsyncGenerator[WatchEvent, None]:
    """Events, for ever.

    Args:
        open_at: opens a watch at a resume token, in a session; empty: from the beginning.

    Raises what the first opening does; from then on only what trying again cannot mend.
    """
    token, pause, is_first = "", FIRST_PAUSE_SECONDS, True
    while True:
        try:
            opened = await open_at(token)
            try:
                while True:
                    events = await opened.next()
                    for event in events:
                        yield event
                    token, pause, is_first = opened.resume_token, FIRST_PAUSE_SECONDS, False
            except DirectoryError as error:
                await opened.close(error)
                raise
            finally:
                await opened.close()
        except DirectoryRefused as error:
            if error.reason == "FIELD_INVALID":  # what was asked, not who asks
                raise UsageError(str(error)) from error
            if error.reason == "RESUME_TOKEN_INVALID" and token:
                token = ""
                yield WatchEvent(Happened.STARTED_ANEW)
            elif is_first or error.reason not in _PASSING | {"SESSION_UNKNOWN"}:
                raise
        except DirectoryUnreachable:
            if is_first:
                raise
        await asyncio.sleep(pause * (0.5 + random.random() / 2))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
