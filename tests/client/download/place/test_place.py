"""Where a download may end up: nothing is followed, nothing is clobbered, names are checked."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_client.download.place.names import safe_name
from p2p_client.download.place.place import Place, file_mode
from p2p_client.download.place.rename import rename_without_clobbering
from p2p_client.errors import LocalRefusal, TargetExists, TargetUnwritable

HOSTILE = [
    "",
    ".",
    "..",
    "../../x",
    "/etc/passwd",
    "a/../../b",
    "a//b",
    "a/",
    "./a",
    "C:\\x",
    "..\\x",
    "a\0b",
    "a\nb",
    "\x1b]0;owned\x07",
    "\x9b2J",
    "evil\u202etxt.exe",
    "zero\u200bwidth",
    "\u2066isolate",
    "\ufeffbom",
    "\ud800",
    "\ue000private",
    "\U000e0001tag",
    "line\u2028separator",
    "e\u0301",  # decomposed
    "x" * 256,
    "x/" * 600 + "x",
    "/".join("x" * 65),
    "\u20ac" * 86,  # 258 bytes in one part
]
LAWFUL = [
    "a",
    "aux.c",
    "CON.txt",
    "a:b",
    "-rf",
    "dot.",
    "space ",
    ".hidden",
    "...",
    "a/b/c",
    "caf\u00e9",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\U0001f468\u200d\U0001f469",
    "x" * 255,
    "/".join("x" * 64),
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_is_refused(name: str) -> None:
    with pytest.raises(LocalRefusal) as caught:
        safe_name(name)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", LAWFUL, ids=ascii)
def test_a_lawful_name_is_taken_as_it_is(name: str) -> None:
    assert safe_name(name) == name


@given(st.text(max_size=40) | st.text(alphabet="./\\a\0 :", max_size=12))
def test_a_name_that_passes_stays_below_its_folder(name: str) -> None:
    try:
        safe = safe_name(name)
    except LocalRefusal:
        return
    joined = os.path.normpath(os.path.join("/folder", safe))

    assert joined == f"/folder/{safe}"


def part_of(place: Place, content: bytes = b"whole") -> tuple[str, int]:
    name = ".part"
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=place.folder_fd)
    os.write(fd, content)
    return name, fd


def test_a_file_gets_its_name_and_the_part_is_gone(tmp_path: Path) -> None:
    place = Place.open(tmp_path / "target", overwrite=False)

    place.publish(*part_of(place))

    assert os.listdir(tmp_path) == ["target"]
    assert (tmp_path / "target").read_bytes() == b"whole"


def test_an_absent_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(TargetUnwritable, match="does not exist"):
        Place.open(tmp_path / "absent" / "target", overwrite=False)


def test_a_file_for_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(TargetUnwritable):
        Place.open(tmp_path / "file" / "target", overwrite=False)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_no_target(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "target").mkdir()
    place = Place.open(tmp_path / "target", overwrite=overwrite)

    with pytest.raises(LocalRefusal, match="is a folder"):
        place.check()
    with pytest.raises(LocalRefusal, match="is a folder"):
        Place.open(Path(".."), overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_device_or_pipe_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    os.mkfifo(tmp_path / "target")

    with pytest.raises(LocalRefusal):
        Place.open(tmp_path / "target", overwrite=overwrite).check()

    assert stat.S_ISFIFO((tmp_path / "target").stat().st_mode)


@pytest.mark.parametrize("leads_to", ["victim", "nowhere"])
def test_a_symlink_counts_as_existing(tmp_path: Path, leads_to: str) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "target").symlink_to(leads_to)

    with pytest.raises(TargetExists):
        Place.open(tmp_path / "target", overwrite=False).check()


@pytest.mark.parametrize("leads_to", ["victim", "nowhere"])
def test_overwriting_a_symlink_replaces_the_link_and_spares_what_it_leads_to(
    tmp_path: Path, leads_to: str
) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "target").symlink_to(leads_to)
    place = Place.open(tmp_path / "target", overwrite=True)
    place.check()

    place.publish(*part_of(place))

    assert not (tmp_path / "target").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"whole"
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()


def test_a_target_that_appears_meanwhile_is_left_alone(tmp_path: Path) -> None:
    place = Place.open(tmp_path / "target", overwrite=False)
    place.check()
    part = part_of(place)
    (tmp_path / "target").write_bytes(b"precious")

    with pytest.raises(TargetExists):
        place.publish(*part)

    assert (tmp_path / "target").read_bytes() == b"precious"
    assert (tmp_path / ".part").read_bytes() == b"whole"


def test_the_rename_itself_refuses_to_clobber(tmp_path: Path) -> None:
    """What appears between the last check and the rename is safe too."""
    place = Place.open(tmp_path / "target", overwrite=False)
    name, _ = part_of(place)
    (tmp_path / "target").write_bytes(b"precious")

    with pytest.raises(FileExistsError):
        rename_without_clobbering(name, "target", place.folder_fd)

    assert (tmp_path / "target").read_bytes() == b"precious"


def test_a_part_that_was_swapped_is_not_published(tmp_path: Path) -> None:
    place = Place.open(tmp_path / "target", overwrite=False)
    name, fd = part_of(place)
    (tmp_path / name).unlink()
    (tmp_path / name).write_bytes(b"evil")

    with pytest.raises(LocalRefusal):
        place.publish(name, fd)

    assert not (tmp_path / "target").exists()


def test_a_folder_swapped_for_a_symlink_changes_nothing(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    place = Place.open(folder / "target", overwrite=False)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(outside)

    place.publish(*part_of(place))

    assert os.listdir(outside) == []
    assert (tmp_path / "moved" / "target").read_bytes() == b"whole"


def test_the_mode_is_that_of_an_ordinary_file(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        (tmp_path / "ordinary").touch()

        assert file_mode() == stat.S_IMODE((tmp_path / "ordinary").stat().st_mode) == 0o640
    finally:
        os.umask(old)
