"""The workers that dial: a few at a time, off the path of any call."""

import asyncio
import logging
from typing import Final

from p2p_server.dialback.probes import Probe
from p2p_server.directory.presence.reach.dialling import DialOrder
from p2p_server.directory.presence.reach.endpoints import Answer
from p2p_server.directory.presence.reach.reachability import Reachability

WORKERS: Final = 32

log = logging.getLogger(__name__)


class Dialback:
    """Dials what `reachability` orders, whenever `wake` is set."""

    def __init__(self, reachability: Reachability, probe: Probe, wake: asyncio.Event) -> None:
        self._reachability = reachability
        self._probe = probe
        self._wake = wake

    async def run(self) -> None:
        """Works until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(WORKERS):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while True:
            order = self._reachability.take()
            if order is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            try:
                await self._judge(order)
            except Exception:  # one order must not end the directory
                log.exception("an endpoint could not be judged")

    async def _judge(self, order: DialOrder) -> None:
        known = self._reachability.known(order)
        answer = known or await self._dial(order)
        await self._reachability.conclude(order, answer, dialled=known is None)

    async def _dial(self, order: DialOrder) -> Answer:
        try:
            return await self._probe(order)
        except Exception:
            log.exception("dialling back failed in an unforeseen way")
            return Answer.NOBODY
