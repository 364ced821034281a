"""The directory as a plain object: one method a call, our values in and out.

Owns the session's token, which leaves this file only as metadata. Where a call is made is
`addresses.py`'s to say, and when, `membership/`'s. Every method raises DirectoryUnreachable where
no address answers in time, DirectoryUntrusted for a key that is not the one on record,
DirectoryRefused for a refusal, with the wire's reason.
"""

import struct
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256

from p2p.v1 import directory_pb2 as pb
from p2p_client.config import Address
from p2p_client.errors import DirectoryUnreachable, UsageError
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
from p2p_client.net.directory.addresses import Addresses
from p2p_client.net.directory.link import Link, useless_answer, with_hint
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
        self._known = known
        self._pinned = None if pinned is None else parse_fingerprint(pinned)
        self._insecure = insecure
        self._at = Addresses(
            addresses,
            known=known,
            pinned=self._pinned,
            insecure=insecure,
            seconds=min(CALL_SECONDS, timeout_seconds),
        )
        self._token = ""

    def __str__(self) -> str:
        return str(self._at)

    # --- the session ---------------------------------------------------------------------------

    async def info(self) -> DirectoryInfo:
        return await self._at.anywhere(self._info)

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

        return await self._at.anywhere(work)

    async def heartbeat(self, revision: Revision, active_uploads: int, max_uploads: int) -> Renewed:
        request = pb.HeartbeatRequest(
            revision=to_wire.revision(revision),
            load=pb.PeerLoad(active_uploads=active_uploads, max_uploads=max_uploads),
        )
        answer = await self._at.anywhere(
            lambda link: link.call(link.stub.Heartbeat, request, CALL_SECONDS, self._token)
        )
        return from_wire.renewed(answer)

    async def leave(self) -> None:
        """Ends the session; nothing is called in it afterwards."""
        token, self._token = self._token, ""
        await self._at.anywhere(
            lambda link: link.call(link.stub.Leave, pb.LeaveRequest(), LEAVE_SECONDS, token)
        )

    async def announce(self, batch: AnnounceBatch) -> Announced:
        request = to_wire.announce(batch)
        answer = await self._at.anywhere(
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
        answer = await self._at.anywhere(
            lambda link: link.call(link.stub.Query, request, PAGE_SECONDS, self._token)
        )
        return partial(from_wire.resources, answer), from_wire.page_token(answer.next_page_token)

    async def list_peers(self, user: str, page_token: str = "") -> tuple[list[ListedPeer], str]:
        """A page of the peers online, of one user where named, and the token of the next one."""
        request = to_wire.list_peers(user, page_token)
        answer = await self._at.anywhere(
            lambda link: link.call(link.stub.ListPeers, request, PAGE_SECONDS, self._token)
        )
        return from_wire.peers(answer.peers), from_wire.page_token(answer.next_page_token)

    async def locate(self, digests: Sequence[Digest]) -> list[Holding]:
        """The online sources of these contents (at most 1,000), all pages joined."""
        asked, found, token = set(digests), list[Holding](), ""
        for _ in range(MOST_LOCATE_PAGES):
            request = pb.LocateRequest(digests=list(dict.fromkeys(digests)), page_token=token)
            answer = await self._at.anywhere(
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
            opened = OpenWatch(link, call, lambda error: self._at.give_back(link, error))
            try:
                await opened.begin(PAGE_SECONDS)
            except BaseException as error:
                await opened.close(error)
                raise
            return opened

        return await self._at.anywhere(work)

    async def close(self) -> None:
        """Ends the connection and the calls over it."""
        self._token = ""
        await self._at.close()

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
