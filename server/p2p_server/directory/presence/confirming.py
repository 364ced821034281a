"""Whether what is in memory of a session still is what the store holds: for others change it too.

Its user may be removed by the command line, or its peer register with another instance. Not every
call can ask the store; so it is asked several times a second whether others changed anything.
"""

from typing import Final

from p2p_server.directory.presence.registration import Clock
from p2p_server.store.base import Store

CONFIRM_SECONDS: Final = 1.0  # so long may a session outlive its removal by another process


class Confirming:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._looked_at: float | None = None  # when others' changes were last looked for
        self._doubted_at = clock.monotonic()  # when some were last found
        self._others_version: int | None = None

    def holds(self, confirmed_at: float, now: float) -> bool:
        """Whether a session that the store confirmed then needs no asking now."""
        if now - confirmed_at < CONFIRM_SECONDS:
            return True
        is_watched = self._looked_at is not None and now - self._looked_at < CONFIRM_SECONDS
        return is_watched and confirmed_at > self._doubted_at

    async def look(self) -> None:
        """Finds out whether others changed the store. Raises StoreUnavailable."""
        began_at = self._clock.monotonic()
        version = await self._store.others_version()
        if version is None:
            self._looked_at = None
            return
        if version != self._others_version:
            self._others_version, self._doubted_at = version, self._clock.monotonic()
        self._looked_at = began_at
