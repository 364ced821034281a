"""The machine's calls to the directory: a command in, the event that answers it out."""

from collections.abc import Callable, Coroutine
from contextlib import suppress

from p2p_client.errors import DirectoryError, PeerError
from p2p_client.membership.events import (
    Admitted,
    BatchTaken,
    Call,
    CallFailed,
    Command,
    Event,
    HeartbeatTaken,
    LeaveDone,
    SendBatch,
    SendHeartbeat,
    SendLeave,
    SendRegister,
)
from p2p_client.models import Endpoint, PeerId
from p2p_client.net.directory import DirectoryClient
from p2p_client.net.identity import Identity
from p2p_client.records import dataclass


@dataclass(frozen=True, slots=True)
class Calls:
    """All that is said of us in them; `load` answers active and most uploads."""

    directory: DirectoryClient
    identity: Identity
    user: str
    peer_id: PeerId
    listed: bool
    endpoints: tuple[Endpoint, ...]
    listen_port: int
    load: Callable[[], tuple[int, int]]

    def of(self, command: Command) -> Coroutine[object, object, Event] | None:
        """The call that the command asks for; None: it asks for none."""
        match command:
            case SendRegister():
                return self._register()
            case SendHeartbeat():
                return self._heartbeat(command)
            case SendBatch():
                return self._announce(command)
            case SendLeave():
                return self._leave()
        return None

    async def _register(self) -> Event:
        try:
            granted = await self.directory.register(
                self.identity,
                self.user,
                self.peer_id,
                listed=self.listed,
                endpoints=self.endpoints,
                listen_port=self.listen_port,
            )
        except PeerError as error:
            return CallFailed(Call.REGISTER, error)
        return Admitted(granted)

    async def _heartbeat(self, command: SendHeartbeat) -> Event:
        try:
            renewed = await self.directory.heartbeat(command.revision, *self.load())
        except PeerError as error:
            return CallFailed(Call.HEARTBEAT, error, command.session)
        return HeartbeatTaken(command.session, renewed)

    async def _announce(self, command: SendBatch) -> Event:
        try:
            announced = await self.directory.announce(command.batch)
        except PeerError as error:
            return CallFailed(Call.ANNOUNCE, error, command.session)
        return BatchTaken(command.session, announced)

    async def _leave(self) -> Event:
        with suppress(DirectoryError):
            await self.directory.leave()
        return LeaveDone()
