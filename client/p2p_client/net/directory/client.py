"""The directory as a plain object: one method a call, our values in and out.

Tries each address of the directory in turn and stays with the one that answers. Owns the session's
token, which leaves this file only as metadata. Decides nothing about when to call: `membership/`
does. Every method raises DirectoryUnreachable where no address answers in time, DirectoryUntrusted
for a key that is not the one on record, DirectoryRefused for a refusal, with the wire's reason.
"""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha256
from typing import TypeVar

from p2p.v1 import directory_pb2 as pb
from p2p_client.config import Address
from p2p_client.errors import DirectoryRefused, DirectoryUnreachable, UsageError
from p2p_client.models import (
    AnnounceBatch,
    Announced,
    Digest,
    DirectoryInfo,
    Endpoint,
    Granted,
    Holding,
    ListedPeer,
    ListedResource,
    PeerId,
    Query,
    Renewed,
    Revision,
)
from p2p_client.net.checks import is_user
from p2p_client.net.directory import from_wire, to_wire
from p2p_client.net.directory.link import Link, open_link, useless_answer, with_hint
from p2p_client.net.directory.watch import OpenWatch
from p2p_client.net.identity import Identity, parse_fingerprint
from p2p_client.net.trust import KnownDirectories
from p2p_client.version import VERSION

CALL_SECONDS = 5.0
PAGE_SECONDS = 10.0
ANNOUNCE_SECONDS = 30.0  # a full batch over a thin line
LEAVE_SECONDS = 2.0
MOST_LOCATE_PAGES = 100  # a directory that lies might page for ever
_REGISTER = b"p2p.v1.Register\0"

T = TypeVar("T")


def register_proof_bytes(
    directory_id: str, challenge: bytes, user: str, peer_id: str, certificate_der: bytes
) -> bytes:
    """What Register signs; see RegisterRequest.proof. `directory_id` is the fingerprint of the
    certificate seen in TLS, or, without TLS, what the directory says."""
    parts = (
        bytes.fromhex(directory_id),
        challenge,
        user.encode(),
        peer_id.encode(),
        sha256(certificate_der).digest(),
    )
    return _REGISTER + b"".join(struct.pack(">I", len(part)) + part for part in parts)


class DirectoryClient:
    """One directory under one or several addresses, and our session there.

    Args:
        addresses: all of the same directory; at least one.
        known: where its key is on record, or will be.
        pinned: fingerprint that it must have, before anything on record; UsageError if malformed.
        insecure: whether its network is without TLS; it must say the same.
        timeout_seconds: how long a command waits for the directory in all; kept for `membership/`.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        known: KnownDirectories,
        pinned: str | None,
        insecure: bool,
        timeout_seconds: float,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.fingerprint: str | None = None
        self.first_contact = False
        self._addresses = tuple(addresses)
        self._known = known
        self._pinned = None if pinned is None else parse_fingerprint(pinned)
        self._insecure = insecure
        self._preferred = 0
        self._link: Link | None = None
        self._opening = asyncio.Lock()
        self._token = ""

    def __str__(self) -> str:
        return ", ".join(map(str, self._addresses))

    # --- the session ---------------------------------------------------------------------------

    async def info(self) -> DirectoryInfo:
        return await self._anywhere(self._info)

    async def register(
        self,
        identity: Identity,
        user: str,
        peer_id: PeerId,
        *,
        listed: bool,
        endpoints: Sequence[Endpoint] = (),
        listen_port: int = 0,
    ) -> Granted:
        """Opens a session; later calls are made in it. Raises UsageError for a malformed name."""
        if not is_user(user):
            raise UsageError(
                f"{user!r} cannot be a user name: letters, digits, dot, underscore and hyphen, "
                "at most 64, the first a letter or digit"
            )

        async def work(link: Link) -> Granted:
            info = await self._info(link)
            signed = register_proof_bytes(
                info.directory_id, info.challenge, user, peer_id, identity.certificate_der
            )
            request = pb.RegisterRequest(
                user=user,
                certificate_der=identity.certificate_der,
                peer_id=peer_id,
                challenge=info.challenge,
                proof=identity.sign(signed),
                listed=listed,
                endpoints=map(to_wire.endpoint, endpoints),
                listen_port=listen_port,
                client_software=f"p2p-client {VERSION}",
            )
            answer = await link.call(link.stub.Register, request, CALL_SECONDS)
            with useless_answer(link.address):
                self._token, granted = from_wire.granted(answer, info)
            return granted

        return await self._anywhere(work)

    async def heartbeat(self, revision: Revision, active_uploads: int, max_uploads: int) -> Renewed:
        request = pb.HeartbeatRequest(
            revision=to_wire.revision(revision),
            load=pb.PeerLoad(active_uploads=active_uploads, max_uploads=max_uploads),
        )
        answer = await self._anywhere(
            lambda link: link.call(link.stub.Heartbeat, request, CALL_SECONDS, self._token)
        )
        return from_wire.renewed(answer)

    async def leave(self) -> None:
        """Ends the session; nothing is called in it afterwards."""
        token, self._token = self._token, ""
        await self._anywhere(
            lambda link: link.call(link.stub.Leave, pb.LeaveRequest(), LEAVE_SECONDS, token)
        )

    async def announce(self, batch: AnnounceBatch) -> Announced:
        request = to_wire.announce(batch)
        answer = await self._anywhere(
            lambda link: link.call(link.stub.Announce, request, ANNOUNCE_SECONDS, self._token)
        )
        return from_wire.announced(answer)

    # --- answers -------------------------------------------------------------------------------

    async def query(
        self, query: Query, page_size: int, page_token: str = ""
    ) -> tuple[Callable[[], list[ListedResource]], str]:
        """A page of resources, and the token of the next one; an empty token: this was the last.

        The page is decoded when it is called: who wants the next one asks for that first.
        """
        request = to_wire.query(query, page_size, page_token)
        answer = await self._anywhere(
            lambda link: link.call(link.stub.Query, request, PAGE_SECONDS, self._token)
        )
        return partial(from_wire.resources, answer), from_wire.page_token(answer.next_page_token)

    async def list_peers(self, user: str, page_token: str = "") -> tuple[list[ListedPeer], str]:
        """A page of the peers online, of one user where named, and the token of the next one."""
        request = to_wire.list_peers(user, page_token)
        answer = await self._anywhere(
            lambda link: link.call(link.stub.ListPeers, request, PAGE_SECONDS, self._token)
        )
        return from_wire.peers(answer.peers), from_wire.page_token(answer.next_page_token)

    async def locate(self, digests: Sequence[Digest]) -> list[Holding]:
        """The online sources of these contents (at most 1,000), all pages joined."""
        asked, found, token = set(digests), list[Holding](), ""
        for _ in range(MOST_LOCATE_PAGES):
            request = pb.LocateRequest(digests=list(dict.fromkeys(digests)), page_token=token)
            answer = await self._anywhere(
                lambda link, request=request: link.call(  # type: ignore[misc]  # mypy#10740
                    link.stub.Locate, request, PAGE_SECONDS, self._token
                )
            )
            found += from_wire.holdings(answer, asked, insecure=self._insecure)
            before, token = token, from_wire.page_token(answer.next_page_token)
            if not token or token == before:
                break
        return found

    async def watch(
        self, query: Query, resume_token: str, *, only_new: bool, with_peers: bool
    ) -> OpenWatch:
        """A watch that has begun: its first response is there. To be closed by the caller."""
        request = to_wire.watch(query, resume_token, only_new=only_new, with_peers=with_peers)

        async def work(link: Link) -> OpenWatch:
            metadata = (("authorization", f"Bearer {self._token}"),)
            call = link.stub.Watch(request, metadata=metadata)
            link.borrowers += 1
            opened = OpenWatch(link, call, lambda error: self._give_back(link, error))
            try:
                await opened.begin(PAGE_SECONDS)
            except BaseException as error:
                await opened.close(error)
                raise
            return opened

        return await self._anywhere(work)

    async def close(self) -> None:
        """Ends the connection and the calls over it."""
        self._token = ""
        link, self._link = self._link, None
        if link is not None:
            await link.channel.close()

    # --- connections ---------------------------------------------------------------------------

    async def _info(self, link: Link) -> DirectoryInfo:
        """Asks, checks that it is who TLS showed, and only then records its key."""
        request = pb.GetDirectoryInfoRequest()
        try:
            answer = await link.call(link.stub.GetDirectoryInfo, request, CALL_SECONDS)
        except DirectoryUnreachable as error:
            raise await with_hint(link, error) from None
        with useless_answer(link.address):
            info = from_wire.info(answer)
        link.check(info, self._pinned)
        if link.decision is not None:
            self.first_contact = self.first_contact or link.decision.first_contact
            self.fingerprint = link.decision.fingerprint
            self._known.record(link.address, link.decision)
        return info

    async def _anywhere(self, work: Callable[[Link], Awaitable[T]]) -> T:
        """Does it at the first address that answers, beginning with the one that did last.

        Only for work that may be repeated: an address may have got a call whose answer was lost.
        All of the directory's calls are such. An instance that is cut off from its database is
        passed over like one that does not answer: others may not be.
        """
        failures: list[DirectoryUnreachable] = []
        unwell: DirectoryRefused | None = None
        for _ in self._addresses:
            try:
                async with self._borrowed() as link:
                    return await work(link)
            except DirectoryUnreachable as error:
                failures.append(error)
            except DirectoryRefused as error:
                if error.reason != "STORE_UNAVAILABLE":
                    raise
                unwell = error
            self._preferred = (self._preferred + 1) % len(self._addresses)
        if unwell is not None:
            raise unwell
        reasons = {error.reason for error in failures}
        raise DirectoryUnreachable(
            "; ".join(dict.fromkeys(map(str, failures))),
            reason=reasons.pop() if len(reasons) == 1 else None,
        )

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Link]:
        """The link in use, or a new one. One that failed is dropped, and closed when nobody uses it
        any more: the next call looks at the certificate afresh and trusts no dead connection."""
        async with self._opening:
            link = self._link
            if link is None:
                link = self._link = await open_link(
                    self._addresses[self._preferred],
                    self._addresses,
                    self._known,
                    pinned=self._pinned,
                    insecure=self._insecure,
                    seconds=min(CALL_SECONDS, self.timeout_seconds),
                )
        link.borrowers += 1
        failure: BaseException | None = None
        try:
            yield link
        except (DirectoryUnreachable, DirectoryRefused) as error:
            failure = error
            raise
        finally:
            await self._give_back(link, failure)

    async def _give_back(self, link: Link, failure: BaseException | None) -> None:
        if isinstance(failure, DirectoryUnreachable) or (
            isinstance(failure, DirectoryRefused)
            and (failure.reason == "STORE_UNAVAILABLE" and len(self._addresses) > 1)
        ):
            self._drop(link)
        link.borrowers -= 1
        if link.lost and not link.borrowers:
            await link.channel.close()

    def _drop(self, link: Link) -> None:
        link.lost = True
        if self._link is link:
            self._link = None
