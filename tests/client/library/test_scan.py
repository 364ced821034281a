"""What a share is: the regular files below its root whose names can be listed."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2p_client.errors import LocalRefusal, UsageError
from p2p_client.library.disk.roots import identities, root_of
from p2p_client.library.disk.scan import Folder, Listing, list_folder

NOTHING_PRIVATE = frozenset[tuple[int, int]]()


def listing_of(folder: Path) -> Listing:
    root = root_of(folder, NOTHING_PRIVATE)
    listing = list_folder(Folder(root, root.name, root.location), NOTHING_PRIVATE)
    assert listing is not None
    return listing


def why(listing: Listing) -> dict[str, str]:
    return {item.path: item.why for item in listing.skipped}


@pytest.fixture
def share(tmp_path: Path) -> Path:
    share = tmp_path / "share"
    share.mkdir()
    return share


def test_hidden_files_and_folders_are_shared(share: Path) -> None:
    (share / ".env").write_bytes(b"x")
    (share / ".git").mkdir()
    (share / "empty").write_bytes(b"")

    listing = listing_of(share)
    assert {found.path for found in listing.files} == {"share/.env", "share/empty"}
    assert [folder.listed for folder in listing.folders] == ["share/.git"]
    assert listing.skipped == []


def test_symlinks_and_special_files_are_skipped_and_said(share: Path) -> None:
    (share / "to_file").symlink_to("/etc/passwd")
    (share / "to_folder").symlink_to("/")
    (share / "to_nothing").symlink_to("nothing")
    os.mkfifo(share / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(share / "socket"))
        listing = listing_of(share)

    assert listing.files == []
    assert listing.folders == []
    assert set(why(listing)) == {
        f"share/{name}" for name in ("to_file", "to_folder", "to_nothing", "fifo", "socket")
    }
    assert "symlink" in why(listing)["share/to_folder"]


def test_unfinished_downloads_are_not_even_mentioned(share: Path) -> None:
    for name in (".a.01234567.p2p-part", ".a.01234567.p2p-journal"):
        (share / name).write_bytes(b"x")

    assert len(listing_of(share)) == 0


def test_names_that_cannot_be_listed_are_skipped_and_shown_printable(share: Path) -> None:
    bad = [
        b"caf\xe9",
        b"a\nb",
        b"\x1b[31mred",
        "x\u202eexe".encode(),
        b"back\\slash",
        b"\xed\xa0\x80",
    ]
    for name in bad:
        with open(os.fsencode(share) + b"/" + name, "wb"):
            pass
    (share / "good").write_bytes(b"x")

    listing = listing_of(share)
    assert [found.path for found in listing.files] == ["share/good"]
    assert len(listing.skipped) == len(bad)
    for item in listing.skipped:
        item.path.encode()
        assert item.path.isprintable()


def test_a_decomposed_name_is_listed_composed_and_opened_as_it_is(share: Path) -> None:
    (share / "e\u0301").write_bytes(b"x")

    (found,) = listing_of(share).files
    assert found.path == "share/\u00e9"
    assert found.location.below == "e\u0301"
    assert found.location.disk_path.read_bytes() == b"x"


def test_of_two_names_listed_alike_the_one_spelt_so_is_kept_and_the_other_said(
    share: Path,
) -> None:
    (share / "e\u0301").write_bytes(b"decomposed")
    (share / "\u00e9").write_bytes(b"composed")

    listing = listing_of(share)
    (found,) = listing.files
    assert found.location.below == "\u00e9"
    assert list(why(listing)) == ["share/e\u0301"]


def test_what_is_too_deep_or_too_long_is_skipped(share: Path) -> None:
    root = root_of(share, NOTHING_PRIVATE)
    (share / "f").write_bytes(b"x")
    deep = Folder(root, "/".join(["d"] * 64), root.location)
    long = Folder(root, "d" * 1023, root.location)

    for folder, reason in ((deep, "deeper"), (long, "longer")):
        listing = list_folder(folder, NOTHING_PRIVATE)
        assert listing is not None
        assert listing.files == []
        assert reason in listing.skipped[0].why


def test_a_folder_that_is_gone_or_became_a_link_is_gone(share: Path) -> None:
    root = root_of(share, NOTHING_PRIVATE)
    (share / "link").symlink_to("/etc")
    for name in ("missing", "link"):
        folder = Folder(root, f"share/{name}", root.location.child(name))
        assert list_folder(folder, NOTHING_PRIVATE) is None


def test_private_folders_are_skipped_wherever_they_are_met(share: Path) -> None:
    (share / "state").mkdir()
    (share / "state" / "key.pem").write_bytes(b"secret")
    private = identities([share / "state", share / "missing"])
    root = root_of(share, private)

    listing = list_folder(Folder(root, "share/state", root.location.child("state")), private)
    assert listing is not None
    assert listing.files == []
    assert "keys" in listing.skipped[0].why
    for given in (share / "state", share / "state" / "key.pem"):
        with pytest.raises(LocalRefusal, match="keys"):
            root_of(given, private)


@pytest.fixture
def inside(share: Path) -> Iterator[Path]:
    here = Path.cwd()
    os.chdir(share)
    yield share
    os.chdir(here)


def test_relative_roots_get_the_name_that_they_resolve_to(inside: Path) -> None:
    (inside / "sub").mkdir()
    for given in (".", "sub/..", "./"):
        assert root_of(Path(given), NOTHING_PRIVATE).name == "share"


def test_a_root_that_is_a_symlink_is_resolved_once_and_keeps_its_name(share: Path) -> None:
    link = share.with_name("link")
    link.symlink_to(share)

    root = root_of(link, NOTHING_PRIVATE)
    assert root.name == "link"
    assert root.location.top == share.resolve()


def test_a_single_file_is_listed_by_its_name(share: Path) -> None:
    (share / "f.txt").write_bytes(b"x")
    root = root_of(share / "f.txt", NOTHING_PRIVATE)
    listing = list_folder(Folder(root, "", root.location.folder), NOTHING_PRIVATE)

    assert listing is not None
    assert [found.path for found in listing.files] == ["f.txt"]


def test_what_cannot_be_a_root_is_refused_with_the_reason(share: Path) -> None:
    (share / "loop").symlink_to("loop")
    os.mkfifo(share / "fifo")
    (share / ".a.01234567.p2p-part").write_bytes(b"x")
    (share / "bad\nname").mkdir()
    cases = {
        share / "missing": "No such file",
        share / "loop": "itself",
        share / "fifo": "neither a file nor a folder",
        share / ".a.01234567.p2p-part": "unfinished",
        share / "bad\nname": "control character",
    }
    for given, reason in cases.items():
        with pytest.raises(LocalRefusal, match=reason):
            root_of(given, NOTHING_PRIVATE)
    with pytest.raises(UsageError, match="no name"):
        root_of(Path("/"), NOTHING_PRIVATE)
