"""What a query means, apart from any database: folding, globs, trigrams.

Stores translate criteria into their own language with what stands here, so that all of them find
the same. Page tokens are in `page_tokens.py`.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

TRIGRAM_LENGTH = 3

_STARS = re.compile(r"\*\*+")
_WILDCARDS = re.compile(r"[*?]+")


def fold(text: str) -> str:
    """`text` for comparing without case: casefolded, NFC. Paths, words, globs and owners alike."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def glob_literals(glob: str) -> tuple[str, ...]:
    """The runs of plain characters in a glob: each stands in every folded path that it matches."""
    return tuple(run for run in _WILDCARDS.split(glob) if run)


def trigrams(texts: Sequence[str], most: int) -> tuple[str, ...]:
    """Up to `most` trigrams that a folded path must have to hold all of `texts`.

    Texts shorter than a trigram give none. Where there are too many, they are taken evenly from
    the whole, for what follows one trigram says little that its neighbour did not.
    """
    found = dict.fromkeys(
        text[i : i + TRIGRAM_LENGTH]
        for text in texts
        for i in range(len(text) - TRIGRAM_LENGTH + 1)
    )
    if len(found) <= most:
        return tuple(found)
    every = list(found)
    return tuple(every[i * len(every) // most] for i in range(most))


@lru_cache(maxsize=256)
def glob_matcher(glob: str) -> Callable[[str], bool]:
    """Decides whether a folded path matches a folded glob (syntax: QueryRequest.glob).

    Cost: at most O(path length * length of a part of the path), whatever the glob, for no wildcard
    gives back what it took but the last `**`, which seeks the end.
    """
    expression = re.compile(_translate(glob), re.DOTALL)
    return lambda path: expression.fullmatch(path) is not None


def _translate(glob: str) -> str:
    if "/" not in glob:
        # The last part of the path; it holds no slash, so `**` is as good as `*` in it.
        return rf"(?>(?:.*/)?){_stretch(_STARS.sub('*', glob), to_end=True)}"
    first, *others = _STARS.split(glob)
    if not others:
        return _stretch(first, to_end=True)
    *middle, last = others
    # A stretch between two `**` is best met as early as possible: whatever follows can then begin
    # anywhere after it. Only the last one is bound to an end, and tries every beginning.
    seeking = "".join(rf"(?>.*?{_stretch(stretch, to_end=False)})" for stretch in middle)
    return rf"{_stretch(first, to_end=False)}{seeking}.*{_stretch(last, to_end=True)}"


def _stretch(stretch: str, *, to_end: bool) -> str:
    """An expression for a piece of a glob without `**`, atomic, as short as the text allows.

    Meeting the next literal as early as possible is never wrong within one part of a path: what
    comes later can skip further, but not cross the slash. Only the last literal before a slash or
    before the end has no choice, for it must stand right there.
    """
    parts = stretch.split("/")
    bound = [_part(part, bound=True) for part in parts[:-1]]
    return "/".join([*bound, _part(parts[-1], bound=to_end)]) + (r"\Z" if to_end else "")


def _part(part: str, *, bound: bool) -> str:
    """One part of a path. `bound`: a slash or the end follows, so it is matched as a whole."""
    head, *rest = (
        "".join("[^/]" if c == "?" else re.escape(c) for c in run) for run in part.split("*")
    )
    if not rest:
        return head
    if not bound:
        return head + "".join(f"(?>[^/]*?{run})" for run in rest)
    *middle, last = rest
    skips = "".join(f"(?>[^/]*?{run})" for run in middle)
    return rf"(?>{head}{skips}[^/]*{last}(?=/|\Z))"
