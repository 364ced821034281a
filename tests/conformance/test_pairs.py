"""Python, Go and Node download from each other, all nine pairs, through a real directory; and each
of them keeps the promises about leases, stopping, restarts and exit codes."""

import time
from collections.abc import Sequence

import pytest
from tests.conformance.clients import LANGUAGES, Speaker
from tests.conformance.conftest import SpeakerOf, SpeakersOf
from tests.support.programs.network import Network, Sharer, User
from tests.support.programs.processes import eventually
from tools.vectors.base import MIB, content

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test of a language builds it

FILES = {
    "empty.bin": 0,
    "one.bin": 1,
    "piece.bin": MIB,
    "piece and one.bin": MIB + 1,
    "Größe/日本語 👩\u200d👧.bin": 5 * MIB,
}
LEASE_SECONDS = 6.0

each_language = pytest.mark.parametrize("language", LANGUAGES)


@pytest.mark.parametrize("getter", LANGUAGES)
@pytest.mark.parametrize("sharer", LANGUAGES)
def test_each_downloads_from_each(
    network: Network, speaker: SpeakerOf, sharer: str, getter: str
) -> None:
    network.directory()
    ann, bob = speaker("ann", sharer), speaker("bob", getter)
    for name, size in FILES.items():
        ann.file(f"things/{name}", content(size))
    shared = ann.share("things").ready
    assert shared["resources"] == len(FILES)

    rows = {row["path"]: row for row in bob.search()}
    assert rows.keys() == {f"things/{name}" for name in FILES}
    for name, size in FILES.items():
        row = rows[f"things/{name}"]
        assert (row["owner"], row["size_bytes"]) == ("ann", size)
        target = row["digest"] if size == MIB else f"ann:things/{name}"
        ended = bob.run("--json", "get", target, "-o", "got.bin", "--overwrite")
        assert ended.ok
        assert ended.event("finished")["digest"] == row["digest"]
        assert (bob.folder / "got.bin").read_bytes() == content(size)
    assert [at.name for at in bob.folder.iterdir()] == ["got.bin"], "something was left behind"


@each_language
def test_exit_codes_say_what_went_wrong(
    network: Network, speaker: SpeakerOf, language: str
) -> None:
    directory = network.directory()
    ann, eve, bob = speaker("ann", "python"), speaker("eve", "python"), speaker("bob", language)
    for user in (ann, eve):
        user.file("talk.txt", f"by {user.name}")
        user.share("talk.txt")
    bob.file("here.txt", "mine")

    assert bob.search("nothing like it") == []
    bob.run("get", "nothing").failed(3)
    said = bob.run("get", "talk.txt").failed(4)
    assert "ann:talk.txt" in said
    assert "eve:talk.txt" in said
    bob.run("get", "ann:talk.txt", "-o", "here.txt").failed(7)
    assert (bob.folder / "here.txt").read_text() == "mine"
    bob.run("get").failed(2)
    assert bob.run("get", "eve:talk.txt", "-o", "there.txt").ok
    assert (bob.folder / "there.txt").read_text() == "by eve"
    other = speaker("ANN", language)  # the name is taken, whatever its case
    other.run("search").failed(5)
    directory.kill()
    bob.run("get", "ann:talk.txt").failed(5)


def test_killed_sharers_are_gone_within_their_lease(network: Network, speakers: SpeakersOf) -> None:
    """All languages at once, here and where a directory goes: what they do is mostly waiting."""
    network.directory(lease_seconds=LEASE_SECONDS)
    bob, sharing = network.user("bob"), shared_by(speakers("ann"))
    time.sleep(LEASE_SECONDS + 1)  # heartbeats keep them
    assert owners(bob) == set(sharing)

    for sharer in sharing.values():
        sharer.kill()

    eventually(lambda: not bob.search(), within_seconds=LEASE_SECONDS + 1.5, every_seconds=0.2)


@each_language
def test_a_stopped_sharer_leaves_at_once(
    network: Network, speaker: SpeakerOf, language: str
) -> None:
    network.directory()
    ann, bob = speaker("ann", language), speaker("bob", "python")
    ann.file("a.txt", "a")
    sharer = ann.share("a.txt")
    assert len(bob.peers()) == 1

    began = time.monotonic()
    assert sharer.stop().ok

    assert time.monotonic() - began < 5
    assert bob.search() == []
    assert bob.peers() == []


def test_sharers_outlive_their_directory(network: Network, speakers: SpeakersOf) -> None:
    directory = network.directory(lease_seconds=LEASE_SECONDS)
    bob, everybody = network.user("bob"), speakers("ann")
    sharing = shared_by(everybody)
    directory.kill()
    bob.run("search").failed(5)

    network.restart(directory)

    eventually(lambda: owners(bob) == set(sharing), within_seconds=20, every_seconds=0.2)
    for user in everybody:
        user.file("docs/new.txt", f"announced by {user.name} after the restart")
    eventually(lambda: owners(bob, "new.txt") == set(sharing), within_seconds=20, every_seconds=0.2)
    for name, sharer in sharing.items():
        assert bob.run("get", f"{name}:docs/new.txt", "-o", f"{name}.txt").ok
        assert sharer.program.running, name


def test_sharers_register_again_where_their_session_is_forgotten(
    network: Network, speakers: SpeakersOf
) -> None:
    """The whole state but the directory's identity is lost, users and catalog too."""
    directory = network.directory(lease_seconds=LEASE_SECONDS, insecure=True)
    bob, sharing = network.user("bob"), shared_by(speakers("ann"))
    directory.kill()
    for file in (network.folder / "directory").iterdir():
        file.unlink()

    network.restart(directory)

    eventually(lambda: owners(bob) == set(sharing), within_seconds=20, every_seconds=0.2)
    for name in sharing:
        assert bob.run("get", f"{name}:docs/a.txt", "-o", f"{name}.txt").ok


def shared_by(users: Sequence[Speaker]) -> dict[str, Sharer]:
    """Each with a file of its own, which is not that of the others."""
    for user in users:
        user.file("docs/a.txt", f"by {user.name}")
    return {user.name: user.share("docs") for user in users}


def owners(user: User, *words: str) -> set[str]:
    """Who shares something with these words."""
    return {str(row["owner"]) for row in user.search(*words)}


@each_language
def test_a_changed_file_is_announced_anew(
    network: Network, speaker: SpeakerOf, language: str
) -> None:
    network.directory()
    ann, bob = speaker("ann", language), speaker("bob", "python")
    ann.file("docs/a.txt", "before")
    ann.share("docs")
    (before,) = bob.search("a.txt")

    ann.file("docs/a.txt", "and after")

    eventually(
        lambda: [row["digest"] for row in bob.search("a.txt")] != [before["digest"]],
        within_seconds=20,
        every_seconds=0.2,
    )
    assert bob.run("get", "a.txt").ok
    assert (bob.folder / "a.txt").read_text() == "and after"
