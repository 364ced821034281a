"""The menu, driven as a person drives it: through a pseudo-terminal, all five options."""

import os
import re
from pathlib import Path

import pytest
from tests.support.programs.dialogue import Dialogue
from tests.support.programs.network import CLIENT, Network, User
from tests.support.programs.processes import eventually

pytestmark = pytest.mark.slow

PROMPT = "Select an option:"
ENTRIES = [
    "1. Announce a resource",
    "2. Query available resources",
    "3. Query active users",
    "4. Download a resource",
    "5. Exit",
]


def menu_of(user: User, *arguments: str, term: str = "dumb") -> Dialogue:
    command = [str(CLIENT), *(arguments or ("menu",))]
    return Dialogue(command, cwd=user.folder, environment=user.environment, term=term)


def test_all_five_options_through_a_terminal(network: Network) -> None:
    directory = network.directory()
    alice, bob, carol = (network.user(name) for name in ("alice", "bob", "carol"))
    alice.share(alice.file("test.txt", "of alice"))
    bob.share(bob.file("test.txt", "of bob, longer"))
    carol.file("notes.txt", "of carol")

    with menu_of(carol, "menu", directory.address, "carol") as menu:
        assert menu.answers(PROMPT, "2").splitlines()[-6:-1] == ENTRIES
        listed = menu.answers(PROMPT, "3")
        for owner, size in (("alice", "8 B"), ("bob", "14 B")):
            assert re.search(rf"{owner} +127\.0\.0\.1:\d+ +{size} +test\.txt", listed)
        users = menu.answers(PROMPT, "1")
        assert re.search(r"alice +127\.0\.0\.1:\d+ +1 +8 B +20\d\d-", users)

        menu.answers("Path of the file or folder:", "notes.txt")
        menu.sees(r"Announced notes\.txt: you share 1 resource now \(8 B\)")
        assert [r["owner"] for r in alice.search("notes.txt")] == ["carol"]

        menu.types("4")
        menu.answers("Name of the resource:", "test.txt")
        choices = menu.sees(r"Select an owner \(1-2\):")
        numbered = re.findall(r"(\d)\. (\w+) at 127\.0\.0\.1:\d+: test\.txt, (\d+ B), b3:", choices)
        assert {(owner, size) for _, owner, size in numbered} == {("alice", "8 B"), ("bob", "14 B")}
        wanted = next(number for number, owner, _ in numbered if owner == "bob")
        menu.types("9")
        menu.sees("no choice '9'")
        menu.answers(r"Select an owner \(1-2\):", wanted)
        menu.answers(r"Save as \[downloaded_bob_test\.txt\]:", "")
        menu.sees(r"Done: downloaded_bob_test\.txt  14 B")

        menu.types("5")
        menu.ends(0)

    assert (carol.folder / "downloaded_bob_test.txt").read_text() == "of bob, longer"
    assert sorted(path.name for path in carol.folder.iterdir()) == [
        "downloaded_bob_test.txt",
        "notes.txt",
    ]
    eventually(lambda: not alice.search("notes.txt"), within_seconds=5)


def test_the_same_content_of_several_owners_is_one_choice(network: Network) -> None:
    network.directory()
    alice, bob, carol = (network.user(name) for name in ("alice", "bob", "carol"))
    for user in (alice, bob):
        user.share(user.file("same.txt", "the very same"))

    with menu_of(carol) as menu:
        menu.answers(PROMPT, "4")
        menu.answers("Name of the resource:", "same.txt")
        menu.answers(r"Save as \[downloaded_(alice|bob)_same\.txt\]:", "mine.txt")
        menu.sees(r"Done: mine\.txt")
        menu.types("5")
        menu.ends(0)

    assert (carol.folder / "mine.txt").read_text() == "the very same"


def test_nothing_is_ever_overwritten_and_mistakes_are_told(network: Network) -> None:
    network.directory()
    alice, carol = network.user("alice"), network.user("carol")
    alice.share(alice.file("a.txt", "new"))
    carol.file("downloaded_alice_a.txt", "old")

    with menu_of(carol) as menu:
        menu.answers(PROMPT, "7")
        menu.sees("no option '7'")
        menu.answers(PROMPT, "4")
        menu.answers("Name of the resource:", "nosuch.txt")
        menu.sees("nobody online shares 'nosuch.txt'")
        menu.answers(PROMPT, "1")
        menu.answers("Path of the file or folder:", "nosuch-folder")
        menu.sees("no file or folder nosuch-folder")
        menu.answers(PROMPT, "4")
        menu.answers("Name of the resource:", "a.txt")
        menu.answers(r"Save as \[downloaded_alice_a\.txt\]:", "")
        menu.sees("exists already: choose another name")
        menu.answers("Save as", "other.txt")
        menu.sees(r"Done: other\.txt")
        menu.types("5")
        menu.ends(0)

    assert (carol.folder / "downloaded_alice_a.txt").read_text() == "old"
    assert (carol.folder / "other.txt").read_text() == "new"


@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
def test_the_prompt_stays_usable_while_a_download_runs(network: Network, term: str) -> None:
    network.directory()
    alice, carol = network.user("alice"), network.user("carol")
    sharer = alice.share(alice.file("big.bin", os.urandom(8 << 20)))
    sharer.program.pause()  # so the download lasts as long as we want

    with menu_of(carol, term=term) as menu:
        menu.answers(PROMPT, "4")
        menu.answers("Name of the resource:", "big.bin")
        menu.answers("Save as", "")
        menu.sees("in the background")
        menu.answers(PROMPT, "3")
        assert "[running] downloaded_alice_big.bin: 0% of 8.39 MB" in menu.answers(PROMPT, "5")
        menu.answers("Exit all the same", "n")
        menu.answers(PROMPT, "2")

        sharer.program.resume()

        menu.sees(r"Done: downloaded_alice_big\.bin  8\.39 MB")
        menu.types("5")
        menu.ends(0)

    assert (carol.folder / "downloaded_alice_big.bin").stat().st_size == 8 << 20


def test_leaving_while_a_download_runs_says_so_and_resumes_later(network: Network) -> None:
    network.directory()
    alice, carol = network.user("alice"), network.user("carol")
    sharer = alice.share(alice.file("big.bin", os.urandom(4 << 20)))
    sharer.program.pause()

    with menu_of(carol) as menu:
        menu.answers(PROMPT, "4")
        menu.answers("Name of the resource:", "big.bin")
        menu.answers("Save as", "")
        menu.answers(PROMPT, "5")
        menu.sees("Still running:")
        menu.answers("Exit all the same", "y")
        assert "the same again resumes" in menu.ends(0)

    sharer.program.resume()
    assert not (carol.folder / "downloaded_alice_big.bin").exists()
    assert carol.run("get", "big.bin", "-o", "downloaded_alice_big.bin").ok


@pytest.mark.parametrize(("key", "status"), [("d", 0), ("c", 130)])
def test_the_keys_that_end_programs_end_it_cleanly(network: Network, key: str, status: int) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("a.txt", "a")

    with menu_of(alice) as menu:
        menu.answers(PROMPT, "1")
        menu.answers("Path of the file", "a.txt")
        menu.sees(r"Announced a\.txt")
        menu.types_control(key)
        assert "Traceback" not in menu.ends(status)

    assert bob.peers() == []


def test_a_second_path_joins_the_first(network: Network) -> None:
    network.directory()
    alice, bob = network.user("alice"), network.user("bob")
    alice.file("one.txt", "1")
    alice.file("folder with space/two.txt", "2")

    with menu_of(alice) as menu:
        menu.answers(PROMPT, "1")
        menu.answers("Path of the file", "one.txt")
        menu.sees("you share 1 resource now")
        menu.types("1")
        menu.answers("Path of the file", "'folder with space'")
        menu.sees("you share 2 resources now")

        assert [row["path"] for row in bob.search()] == ["folder with space/two.txt", "one.txt"]
        menu.types("5")
        menu.ends(0)


def test_what_is_missing_is_asked_for(network: Network) -> None:
    directory = network.directory()
    someone = network.user("someone")
    environment = {k: v for k, v in someone.environment.items() if not k.startswith("P2P_")}

    with Dialogue(
        [str(CLIENT), "--state-dir", str(someone.state_dir)],  # no command, on a terminal: the menu
        cwd=someone.folder,
        environment=environment,
    ) as menu:
        menu.answers("Directory", "not an address")
        menu.sees("is no address")
        menu.answers("Directory", directory.address)
        menu.answers("Your user name:", "some one")
        menu.sees("is no user name")
        menu.answers("Your user name:", "someone")
        assert directory.fingerprint in menu.answers(PROMPT, "5")
        menu.ends(0)


def test_a_script_may_drive_the_menu_through_a_pipe(network: Network, tmp_path: Path) -> None:
    network.directory()
    alice, carol = network.user("alice"), network.user("carol")
    alice.share(alice.file("a.txt", "content"))
    script = tmp_path / "script"
    script.write_text("2\n4\na.txt\n\n")  # and its end

    program = network.start(
        ["/bin/sh", "-c", f"'{CLIENT}' menu < '{script}'"],
        cwd=carol.folder,
        environment=carol.environment | {"TERM": "xterm-256color"},
    )
    ended = program.wait()

    assert ended.ok
    assert "Done: downloaded_alice_a.txt" in ended.stdout
    assert "\x1b" not in ended.stdout
    assert (carol.folder / "downloaded_alice_a.txt").read_text() == "content"


def test_the_directory_may_vanish_and_return_under_the_menu(network: Network) -> None:
    directory = network.directory()
    alice, carol = network.user("alice"), network.user("carol")
    alice.share(alice.file("a.txt", "content"))

    with menu_of(carol) as menu:
        menu.sees(PROMPT)
        directory.kill()
        menu.types("2")
        menu.sees("That did not work", within_seconds=30)
        network.restart(directory)

        def listed() -> bool:
            menu.answers(PROMPT, "2")
            return "a.txt" in menu.sees("5. Exit", within_seconds=30)

        eventually(listed, within_seconds=30, every_seconds=0.5)
        menu.types("5")
        menu.ends(0)
