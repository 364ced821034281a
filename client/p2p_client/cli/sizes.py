"""Sizes, rates and spans of time as people write and read them. Pure.

Units are decimal (1 MB = 1,000,000 bytes) unless they have an `i` (1 MiB = 1,048,576).
"""

import re
from decimal import Decimal

LARGEST_BYTES = (1 << 63) - 1  # what the wire can carry

_PREFIXES = "kMGTPE"
_SIZE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}) ?(?:([kmgtpe])(i?))?(b?)", re.I)


def parse_size(text: str) -> int:
    """Bytes of `4096`, `10MB`, `1.5GiB`, `700k`; a part of a byte is dropped.

    Raises:
        ValueError: not a size, negative, or more than a file can have; the text says what fits.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write it like 4096, 10MB or 1.5GiB")
    number, prefix, binary, _ = match.groups()
    power = _PREFIXES.lower().index(prefix.lower()) + 1 if prefix else 0
    size_bytes = int(Decimal(number) * (1024 if binary else 1000) ** power)
    if size_bytes > LARGEST_BYTES:
        raise ValueError(f"{text!r} is larger than any file: at most {LARGEST_BYTES} bytes")
    return size_bytes


def show_size(size_bytes: int) -> str:
    """`0 B`, `999 B`, `1.2 kB`, `12 MB`, `1.5 GB`: at most three digits that count."""
    value, prefixes = float(size_bytes), iter(_PREFIXES)
    unit = "B"
    while value >= 999.5:
        following = next(prefixes, None)
        if following is None:
            break
        value, unit = value / 1000, f"{following}B"
    if unit == "B":
        return f"{size_bytes} B"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def show_rate(size_bytes: int, seconds: float) -> str:
    """`35.2 MB/s`; a dash where no time passed."""
    return f"{show_size(int(size_bytes / seconds))}/s" if seconds > 0 else "-"


def show_seconds(seconds: float) -> str:
    """`0.31 s`, `42 s`, `3 min 07 s`, `2 h 05 min`, `3 d 04 h`."""
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    for size, unit, smaller_size, smaller_unit in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller_size:02} {smaller_unit}"
    return f"{whole} s"
