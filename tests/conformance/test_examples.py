"""The examples are what they say: built from the contract as it is now."""

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conformance.clients import LANGUAGES, ROOT, ToolchainAbsent, check_tools

GENERATE_SECONDS = 300


@pytest.mark.parametrize("language", [name for name, at in LANGUAGES.items() if at.build])
def test_the_readme_builds_as_the_tests_do(language: str) -> None:
    """By one command, which they try from a copy of the sources alone."""
    command = " && ".join(" ".join(part) for part in LANGUAGES[language].build)

    assert command in (ROOT / "examples" / language / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.timeout(2 * GENERATE_SECONDS)
def test_the_go_stubs_are_those_of_the_contract(tmp_path: Path) -> None:
    """`make protos` in examples/go changes nothing. (Node makes its own with every build.)"""
    try:
        check_tools(LANGUAGES["go"])
    except ToolchainAbsent as absent:
        pytest.skip(f"no go client: {absent}")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    for part in ("proto", "examples/go"):
        shutil.copytree(ROOT / part, tmp_path / part)
    example = tmp_path / "examples" / "go"
    before = ROOT / "examples" / "go" / "p2pv1"
    buf = Path(sys.executable).parent / "buf"

    done = subprocess.run(
        (buf, "generate"), cwd=example, capture_output=True, text=True, timeout=GENERATE_SECONDS
    )

    assert done.returncode == 0, done.stderr
    names = sorted(file.name for file in before.iterdir())
    assert names == sorted(file.name for file in (example / "p2pv1").iterdir())
    _, stale, faulty = filecmp.cmpfiles(before, example / "p2pv1", names, shallow=False)
    assert not stale + faulty, "`make protos` in examples/go, and commit"
