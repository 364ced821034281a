"""`make check` finds out who breaks the contract, also in a clone without tags."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tools.check_breaking import ROOT, breaks, write_image

pytestmark = pytest.mark.slow

BREAKING = {
    "a field removed": ("types.proto", "  int32 port = 2;\n", ""),
    "a field renumbered": ("types.proto", "int32 port = 2;", "int32 port = 3;"),
    "a field renamed": ("types.proto", "int32 port = 2;", "int32 number = 2;"),
    "a field of another type": ("types.proto", "int32 port = 2;", "int64 port = 2;"),
    "an RPC renamed": ("directory.proto", "  rpc Leave(", "  rpc Part("),
    "a reason renumbered": ("types.proto", "REASON_INTERNAL = 1;", "REASON_INTERNAL = 99;"),
}  # fmt: skip


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a clone without any history has."""
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    return tmp_path


def change(clone: Path, name: str, old: str, new: str) -> None:
    file = clone / "proto" / "p2p" / "v1" / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_the_contract_is_kept() -> None:
    assert breaks(ROOT) == ""


@pytest.mark.parametrize("broken", BREAKING)
def test_what_breaks_is_found(clone: Path, broken: str) -> None:
    change(clone, *BREAKING[broken])

    assert "p2p/v1/" + BREAKING[broken][0] in breaks(clone)


def test_what_is_added_is_lawful(clone: Path) -> None:
    change(clone, "types.proto", "  int32 port = 2;\n", "  int32 port = 2;\n  string zone = 3;\n")

    assert breaks(clone) == ""


def test_a_new_image_does_not_hide_it_from_the_last_tag(clone: Path) -> None:
    def git(*command: str) -> None:
        names = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(("git", *names, *command), cwd=clone, check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "a release")
    git("tag", "v1.0.0")
    change(clone, *BREAKING["a field removed"])

    write_image(clone)

    told = breaks(clone)
    assert 'field "2" with name "port"' in told
    assert told.startswith(".git#tag=v1.0.0:")
