"""Globs mean what the contract says, in bounded time; trigrams only ever narrow."""

import re
from time import thread_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2p_server.directory.query import fold, glob_literals, glob_matcher, trigrams


def matches_by_definition(glob: str, path: str) -> bool:
    """The contract's sentence, tried in every way: exponential, and plainly right."""
    if "/" not in glob:
        path = path.rpartition("/")[2]
    states = [(glob, path)]
    seen = set(states)
    while states:
        pattern, rest = states.pop()
        if not pattern and not rest:
            return True
        following = []
        if pattern.startswith("**"):
            following = [(pattern[2:], rest)] + ([(pattern, rest[1:])] if rest else [])
        elif pattern.startswith("*"):
            eats = rest and rest[0] != "/"
            following = [(pattern[1:], rest)] + ([(pattern, rest[1:])] if eats else [])
        elif pattern.startswith("?"):
            following = [(pattern[1:], rest[1:])] if rest and rest[0] != "/" else []
        elif pattern and rest and pattern[0] == rest[0]:
            following = [(pattern[1:], rest[1:])]
        states += [state for state in following if state not in seen]
        seen.update(following)
    return False


GLOBS = st.text(alphabet="aab/**?", max_size=12)
PATHS = st.text(alphabet="aaab//", min_size=1, max_size=14)


@given(GLOBS, PATHS)
@example("**a*b**b", "aa/ab/b")
@example("a**b*a/?", "ab/ab/ba/a")
@example("**/*a*b", "a/aab")
def test_a_glob_matches_exactly_what_its_definition_does(glob: str, path: str) -> None:
    assert glob_matcher(glob)(path) == matches_by_definition(glob, path)


@given(st.lists(st.sampled_from(["a", "b", "/", "*", "**", "?", "*a", "/**/"]), max_size=9), PATHS)
def test_globs_of_many_wildcards_match_what_their_definition_does(
    tokens: list[str], path: str
) -> None:
    glob = "".join(tokens)

    assert glob_matcher(glob)(path) == matches_by_definition(glob, path)


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("*.jpg", "photos/2024/a.jpg", True),
        ("*.jpg", "photos/a.jpg/readme", False),
        ("photos/*.jpg", "photos/2024/a.jpg", False),
        ("photos/**.jpg", "photos/2024/a.jpg", True),
        ("photos/**", "photos/2024/a.jpg", True),
        ("**/a.jpg", "a.jpg", False),
        ("img_20??.png", "x/img_2024.png", True),
        ("img_20??.png", "x/img_202.png", False),
        ("[a-c].txt", "a.txt", False),
        ("[a-c].txt", "[a-c].txt", True),
        ("a+b(c)$^|.txt", "d/a+b(c)$^|.txt", True),
        ("*", "a/b/c", True),
        ("a\nb*", "a\nb", True),
    ],
)
def test_globs_people_write(glob: str, path: str, expected: bool) -> None:
    assert glob_matcher(glob)(path) is expected


@pytest.mark.parametrize(
    "glob",
    [
        "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b",
        "**a**a**a**a**a**a**a**b",
        "**a*a*a*a*a*a*a*a*a*a*a*a*a*b**c",
        "**/*a*a*a*a*a*a*a*a*a*a*a*a*b",
        "**?*?**?*?**?*?**?*?**b",
        "a*/a*/a*/**a*a*a*a*b",
        "a**/a*a*a*a*a*a*a*a*b**c",
        "**a*a*a*a*a*a*a*a*b**/c**d*e",
    ],
)
@pytest.mark.parametrize("path", ["a" * 1024, ("a" * 255 + "/") * 4 + "a", "a/" * 511 + "a"])
def test_no_glob_takes_long_on_any_path(glob: str, path: str) -> None:
    matches = glob_matcher(glob)

    started = thread_time()
    matched = matches(path)

    assert not matched
    assert thread_time() - started < 0.5  # backtracking would take years; this takes milliseconds


@given(GLOBS, PATHS)
def test_what_a_glob_matches_holds_its_literals_and_their_trigrams(glob: str, path: str) -> None:
    if glob_matcher(glob)(path):
        assert all(run in path for run in glob_literals(glob))
        assert all(part in path for part in trigrams(glob_literals(glob), most=2))


@given(st.lists(st.text(max_size=40), max_size=4), st.integers(1, 9))
def test_trigrams_are_few_distinct_and_taken_from_the_texts(texts: list[str], most: int) -> None:
    found = trigrams(texts, most)

    assert len(found) == len(set(found)) <= most
    assert all(len(part) == 3 and any(part in text for text in texts) for part in found)
    assert bool(found) == any(len(text) >= 3 for text in texts)


@given(st.text(max_size=20))
def test_folding_forgets_case_and_form_and_is_done_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert not re.search("[A-Z]", fold(text))


def test_composed_and_decomposed_spellings_fold_alike() -> None:
    assert fold("CAFE\u0301") == fold("caf\u00e9") == "caf\u00e9"
    assert fold("STRASSE") == fold("straße")
