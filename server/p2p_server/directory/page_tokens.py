"""Page tokens: where a page ended, sealed so that only this directory can have said it.

A token is bound to the request it continues (AIP-158): with other criteria, another secret or one
bit changed it is refused. It hides nothing; what it holds was in the page before.
"""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from p2p_server.directory.errors import PageTokenInvalid, ResumeTokenInvalid
from p2p_server.directory.models import Criteria, Digest, PeerId, SortKey

_SEAL_BYTES = 16  # of HMAC-SHA256: a guess costs a call, and gains nothing
_MOST_CHARACTERS = 16_384


@dataclass(frozen=True, slots=True)
class Place:
    """Where a watch is: in the log, and, while the beginning is told, in that.

    `stage` is "peers" or "resources" while those are told, with the key after which to go on
    (empty: from the first), and empty from then on.
    """

    log: str
    number: int
    stage: str = ""
    key: tuple[str | int, ...] = ()


class PageTokens:
    """Seals and opens the keys after which a next page begins.

    `…_after` answers None for the empty token, the first page, and raises PageTokenInvalid for a
    token that was not given out for the very request.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def for_query(self, criteria: Criteria, key: SortKey) -> str:
        return self._seal(_query_scope(criteria), [key.value, key.folded_path, key.row])

    def query_after(self, criteria: Criteria, token: str) -> SortKey | None:
        match self._open(_query_scope(criteria), token):
            case None:
                return None
            case [str() | int() as value, str() as folded_path, int() as row]:
                return SortKey(value, folded_path, row)
        raise PageTokenInvalid

    def for_peers(self, user: str, key: tuple[str, PeerId]) -> str:
        return self._seal(_scope("peers", user), key)

    def peers_after(self, user: str, token: str) -> tuple[str, PeerId] | None:
        match self._open(_scope("peers", user), token):
            case None:
                return None
            case [str() as folded_user, str() as peer_id]:
                return folded_user, PeerId(peer_id)
        raise PageTokenInvalid

    def for_locate(self, digests: Sequence[Digest], key: tuple[int, PeerId]) -> str:
        return self._seal(_scope("locate", list(digests)), key)

    def locate_after(self, digests: Sequence[Digest], token: str) -> tuple[int, PeerId] | None:
        match self._open(_scope("locate", list(digests)), token):
            case None:
                return None
            case [int() as place, str() as peer_id]:
                return place, PeerId(peer_id)
        raise PageTokenInvalid

    def for_watch(self, watch: object, place: Place) -> str:
        """A resume token; `watch` is what is watched, in words that JSON takes."""
        return self._seal(
            _scope("watch", watch), [place.log, place.number, place.stage, *place.key]
        )

    def watch_after(self, watch: object, token: str) -> Place | None:
        """Raises ResumeTokenInvalid."""
        try:
            opened = self._open(_scope("watch", watch), token)
        except PageTokenInvalid:
            raise ResumeTokenInvalid from None
        match opened:
            case None:
                return None
            case [str() as log, int() as number, str() as stage, *key]:
                known = tuple(part for part in key if isinstance(part, str | int))
                return Place(log, number, stage, known)
        raise ResumeTokenInvalid

    def _seal(self, scope: bytes, key: object) -> str:
        payload = _canonical(key)
        return urlsafe_b64encode(self._tag(scope, payload) + payload).rstrip(b"=").decode()

    def _open(self, scope: bytes, token: str) -> object:
        if not token:
            return None
        sealed = _decoded(token)
        tag, payload = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
        if not hmac.compare_digest(tag, self._tag(scope, payload)):
            raise PageTokenInvalid
        opened: object = json.loads(payload)
        return opened

    def _tag(self, scope: bytes, payload: bytes) -> bytes:
        message = b"p2p.v1.PageToken\0" + len(scope).to_bytes(4, "big") + scope + payload
        return hmac.digest(self._secret, message, "sha256")[:_SEAL_BYTES]


def _query_scope(criteria: Criteria) -> bytes:
    return _scope("query", words_of(criteria))


def words_of(criteria: Criteria) -> object:
    """The criteria in words that JSON takes, each always in the same."""
    return asdict(criteria) | {"order": criteria.order.value}


def _scope(call: str, request: object) -> bytes:
    return _canonical([call, request])


def _canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def _decoded(token: str) -> bytes:
    """The bytes of a token. Only the one spelling that we give out is taken."""
    if len(token) > _MOST_CHARACTERS or not token.isascii():
        raise PageTokenInvalid
    try:
        sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        raise PageTokenInvalid from None
    if urlsafe_b64encode(sealed).rstrip(b"=").decode() != token:
        raise PageTokenInvalid
    return sealed
