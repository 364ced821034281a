"""Challenges that a Register signs.

Stateless while they are out: the time, some randomness and a MAC over both, so that asking for
thousands costs the directory nothing. Only those that were used are remembered, till they would
have expired anyway.
"""

import hmac
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from p2p_server.directory.errors import ChallengeInvalid, Overloaded

LIFETIME_SECONDS: Final = 60.0
MOST_REMEMBERED: Final = 100_000

_NONCE_BYTES: Final = 16
_BODY = struct.Struct(f">q{_NONCE_BYTES}s")
_MAC_BYTES: Final = 32
_AHEAD_SECONDS: Final = 5.0  # the clocks of several instances differ a little


class Challenges:
    """Times are Unix seconds: several instances of one directory share the secret and check them.

    Challenges made before this instance started are refused, for nobody remembers which of them
    were used.
    """

    def __init__(self, secret: bytes, entropy: Callable[[int], bytes], now: float) -> None:
        self._secret = secret
        self._entropy = entropy
        self._started_at = now
        self._used: OrderedDict[bytes, float] = OrderedDict()  # challenge -> expiry

    def make(self, now: float) -> bytes:
        body = _BODY.pack(int(now * 1000), self._entropy(_NONCE_BYTES))
        return body + self._mac(body)

    def check(self, challenge: bytes, now: float) -> None:
        """Raises ChallengeInvalid. Does not use it up, so that only what is proven costs memory."""
        body, mac = challenge[: _BODY.size], challenge[_BODY.size :]
        if len(challenge) != _BODY.size + _MAC_BYTES or not hmac.compare_digest(
            mac, self._mac(body)
        ):
            raise ChallengeInvalid("is not of this directory")
        issued_at = self._issued_at(challenge)
        if not self._started_at - 0.001 <= issued_at <= now + _AHEAD_SECONDS:
            raise ChallengeInvalid("is not of this run of the directory")
        if now - issued_at > LIFETIME_SECONDS:
            raise ChallengeInvalid("has expired")
        if challenge in self._used:
            raise ChallengeInvalid("was used before")

    def use(self, challenge: bytes, now: float) -> None:
        """Uses up a challenge that `check` has passed in this very moment. Raises Overloaded."""
        while self._used and next(iter(self._used.values())) <= now:
            self._used.popitem(last=False)
        if len(self._used) >= MOST_REMEMBERED:
            raise Overloaded()
        self._used[challenge] = now + LIFETIME_SECONDS + _AHEAD_SECONDS

    def _issued_at(self, challenge: bytes) -> float:
        milliseconds: int = _BODY.unpack(challenge[: _BODY.size])[0]
        return milliseconds / 1000

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, b"p2p.v1.challenge\0" + body, "sha256")
