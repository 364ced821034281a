"""Where downloads of real processes end up, and where they refuse to."""

import pytest
from tests.support.programs.network import User
from tests.support.programs.transfers import LIMITED, big_content, half_way, strays

pytestmark = pytest.mark.slow


def test_a_planted_symlink_is_never_written_through(users: tuple[User, User, User]) -> None:
    alice, _, carol = users
    alice.file("a.txt", "from the network")
    alice.share("a.txt")
    victim = carol.file("elsewhere/victim", "precious")
    (carol.folder / "a.txt").symlink_to(victim)

    assert "exists" in carol.run("get", "a.txt").failed(7)
    assert carol.run("get", "a.txt", "--overwrite").ok

    assert victim.read_text() == "precious"
    assert not (carol.folder / "a.txt").is_symlink()
    assert (carol.folder / "a.txt").read_text() == "from the network"


def test_targets_that_cannot_be_are_refused_before_a_byte_is_fetched(
    users: tuple[User, User, User],
) -> None:
    alice, _, carol = users
    alice.file("a.txt", "a")
    alice.share("a.txt")
    (carol.folder / "a-folder").mkdir()
    carol.file("a-file", "x")

    assert "a-folder" in carol.run("get", "a.txt", "-o", "a-folder").failed(7)
    assert "nowhere" in carol.run("get", "a.txt", "-d", "nowhere").failed(7)
    assert "a-file" in carol.run("get", "a.txt", "-d", "a-file").failed(7)
    assert "/proc/nope" in carol.run("get", "a.txt", "-o", "/proc/nope").failed(7)
    assert strays(carol.folder) == []


def test_two_downloads_to_one_target_do_not_meet(users: tuple[User, User, User]) -> None:
    alice, _, carol = users
    content = big_content()
    alice.file("film.mkv", content)
    alice.share("film.mkv", arguments=LIMITED)
    first = carol.start("get", "film.mkv", "--json")
    half_way(first, 0.1)

    second = carol.run("get", "film.mkv")

    assert second.failed(7)
    assert carol.run("get", "film.mkv", "-o", "other.mkv").ok
    assert first.wait().ok
    for name in ("film.mkv", "other.mkv"):
        assert (carol.folder / name).read_bytes() == content
