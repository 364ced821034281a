"""Runs a command's coroutine to its end, or until a signal asks it to stop."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from p2p_client.cli.failures import Stopped

if TYPE_CHECKING:
    from p2p_client.peer import Peer

T = TypeVar("T")
_LOADED_SECONDS = 1.0


def run(work: Coroutine[Any, Any, T]) -> T:
    """SIGTERM, SIGHUP and Ctrl-C cancel the work, which cleans up; a second one hurries it.

    Raises:
        Stopped: by one of these.
    """
    try:
        runner = asyncio.Runner()
        with _interrupted_later():  # a loop that is half made cannot be closed
            runner.get_loop()
        with runner:
            return runner.run(_until_terminated(work))
    except KeyboardInterrupt:
        raise Stopped(signal.SIGINT) from None
    finally:
        work.close()  # one that never began complains otherwise


@contextmanager
def _interrupted_later() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Like `run`, for what goes on until it is told to stop: only Ctrl-C counts as breaking it."""
    try:
        run(work)
    except Stopped as stopped:
        if stopped.signal_number == signal.SIGINT:
            raise


def tell_first_contact(peer: "Peer", tell: Callable[[str], None]) -> None:
    """Says whom we trust from now on, where that was decided just now."""
    if peer.first_contact:
        tell(
            f"first contact with the directory {peer.directory_address}; from now on only this key "
            f"is trusted, so compare it with what p2p-server showed when it started: "
            f"{peer.directory_fingerprint}"
        )


async def _until_terminated(work: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    received: list[int] = []
    loop.call_later(_LOADED_SECONDS, _collect_garbage)

    def stop(signal_number: int) -> None:
        received.append(signal_number)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            loop.add_signal_handler(number, stop, number)
    try:
        return await work
    except asyncio.CancelledError:
        if received:
            raise Stopped(received[0]) from None
        raise


def _collect_garbage() -> None:
    """From now on; what was loaded until now is never garbage."""
    gc.freeze()
    gc.enable()
