"""Typed Python stubs in generated/ from the contract in proto/.

Run by `make protos`. With --check it generates beside the committed stubs and says what differs, so
that a forgotten regeneration, or another version of a tool, is seen in CI.
"""

import argparse
import filecmp
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
GENERATED = ROOT / "generated"
PINNED = {"grpcio-tools": "1.85.1", "mypy-protobuf": "5.1.0"}


def generate(target: Path) -> None:
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    bundled = Path(protoc.__file__).parent / "_proto"
    plugins = Path(sys.executable).parent
    status = protoc.main(
        [
            "protoc",
            f"-I{PROTO}",
            f"-I{bundled}",
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            *sources,
        ]
    )
    if status != 0:
        sys.exit("protoc failed: the messages above name the file and the line")
    for folder, says in (
        ("p2p", "The wire contract, generated from proto/: never edited by hand."),
        ("p2p/v1", "Version 1 of the wire contract, generated from proto/p2p/v1."),
    ):
        (target / folder / "__init__.py").write_text(f'"""{says}"""\n')
    (target / "p2p" / "py.typed").touch()


def differences(left: Path, right: Path) -> list[str]:
    def files(root: Path) -> set[str]:
        return {
            str(path.relative_to(root))
            for path in root.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    names = files(left) | files(right)
    return sorted(
        name
        for name in names
        if not (left / name).is_file()
        or not (right / name).is_file()
        or not filecmp.cmp(left / name, right / name, shallow=False)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether generated/ is fresh")
    arguments = parser.parse_args()
    for tool, wanted in PINNED.items():
        if version(tool) != wanted:
            sys.exit(f"{tool} {wanted} is needed, {version(tool)} is installed: run `make setup`")
    if not arguments.check:
        generate(GENERATED)
        return
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        stale = differences(Path(scratch), GENERATED)
    if stale:
        sys.exit("generated/ is not what proto/ says, run `make protos`: " + ", ".join(stale))
    print("generated/ is fresh")


if __name__ == "__main__":
    main()
