"""Numbers as protobuf writes them, for the messages that are encoded without it."""

from functools import lru_cache


@lru_cache(maxsize=5_000)
def varint(number: int) -> bytes:
    coded = bytearray()
    while number > 0x7F:
        coded.append(number & 0x7F | 0x80)
        number >>= 7
    coded.append(number)
    return bytes(coded)
