"""One task for each partial source of a swarm, which tells the plan what the source has."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from p2p_client.download.picker.pieces import span
from p2p_client.download.plan import Plan
from p2p_client.download.sources.fetcher import Fetcher
from p2p_client.errors import SourceError, SourceMisbehaved
from p2p_client.models import PeerId

MOST_FOLLOWED = 64


class Followers:
    """
    Args:
        on_news: told whenever the plan was told something.
        on_lie: told of a source that said what cannot be.
    """

    def __init__(
        self,
        plan: Plan,
        piece_count: int,
        on_news: Callable[[], None],
        on_lie: Callable[[Fetcher, SourceError], None],
    ) -> None:
        self._plan = plan
        self._piece_count = piece_count
        self._on_news = on_news
        self._on_lie = on_lie
        self._running: dict[PeerId, asyncio.Task[None]] = {}
        self._done: set[PeerId] = set()  # has everything, or cannot say what it has

    def follow(self, fetcher: Fetcher, tasks: asyncio.TaskGroup) -> None:
        """Follows a partial source, once; one that ended badly is tried again at the next call."""
        peer_id = fetcher.holding.source.peer_id
        if peer_id in self._running or peer_id in self._done or len(self) >= MOST_FOLLOWED:
            return
        self._running[peer_id] = tasks.create_task(self._follow(fetcher, peer_id))

    def __len__(self) -> int:
        return len(self._running)

    def stop(self) -> None:
        for task in self._running.values():
            task.cancel()

    async def _follow(self, fetcher: Fetcher, peer_id: PeerId) -> None:
        plan, everything = self._plan, span(0, self._piece_count)
        try:
            async with aclosing(fetcher.watch(self._piece_count)) as watch:
                async for pieces in watch:
                    plan.learned(peer_id, pieces)
                    self._on_news()
            plan.learned(peer_id, everything)
            self._done.add(peer_id)
        except SourceMisbehaved as error:
            self._done.add(peer_id)
            self._on_lie(fetcher, error)
        except SourceError as error:
            plan.forget(peer_id)
            if error.reason == "UNIMPLEMENTED":
                self._done.add(peer_id)
                plan.ban(peer_id)
            elif error.reason == "OVERLOADED":
                plan.learned(peer_id, everything)  # as if it had; it says where that is not so
        finally:
            del self._running[peer_id]
            self._on_news()
