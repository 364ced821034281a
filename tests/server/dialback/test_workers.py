"""The workers outlive whatever one order does to them."""

import asyncio
from typing import cast

from p2p_server.dialback.dialback import Dialback
from p2p_server.directory.models import Endpoint, PeerId
from p2p_server.directory.presence.reach.dialling import DialOrder
from p2p_server.directory.presence.reach.endpoints import Answer
from p2p_server.directory.presence.reach.reachability import Reachability


def order_for(port: int) -> DialOrder:
    return DialOrder(PeerId("peer"), b"token", b"certificate", Endpoint("10.0.0.1", port), "::1")


class Orders:
    """Hands out orders, and fails when the first one is concluded."""

    def __init__(self) -> None:
        self.waiting = [order_for(2), order_for(1)]
        self.concluded: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def take(self) -> DialOrder | None:
        return self.waiting.pop() if self.waiting else None

    def known(self, order: DialOrder) -> Answer | None:
        return None

    async def conclude(self, order: DialOrder, answer: Answer, *, dialled: bool) -> None:
        if order.endpoint.port == 1:
            raise OSError("a log that cannot be written, for example")
        self.concluded.set_result(order.endpoint.port)


async def nobody(order: DialOrder) -> Answer:
    return Answer.NOBODY


async def test_a_fault_with_one_order_does_not_keep_the_next_from_being_judged() -> None:
    orders = Orders()
    dialback = Dialback(cast(Reachability, orders), nobody, asyncio.Event())

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(5):
        running = tasks.create_task(dialback.run())
        assert await orders.concluded == 2
        running.cancel()
