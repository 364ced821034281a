"""The test vectors in tests/conformance/vectors, written from docs/protocol.md alone.

Usage: python -m tools.generate_vectors [--check]

Which they are stands here, what is in them in tools/vectors/. --check only says what differs.
"""

import argparse
import json
import sys
from pathlib import Path

from tools.vectors.announces import announces
from tools.vectors.contents import contents, piece_sizes
from tools.vectors.errors import errors
from tools.vectors.grants import grants
from tools.vectors.names import names
from tools.vectors.proofs import certificates, proofs
from tools.vectors.queries import globs, queries
from tools.vectors.transfers import packed, pieces

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "conformance" / "vectors"
VECTORS = {
    "announces.json": announces,
    "certificates.json": certificates,
    "contents.json": contents,
    "errors.json": errors,
    "globs.json": globs,
    "grants.json": grants,
    "names.json": names,
    "packed.json": packed,
    "piece_sizes.json": piece_sizes,
    "pieces.json": pieces,
    "proofs.json": proofs,
    "queries.json": queries,
}


def rendered() -> dict[str, str]:
    """File name and text of all; ASCII only, so that no editor normalises a name."""
    return {name: json.dumps(make(), indent=1) + "\n" for name, make in VECTORS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    check = parser.parse_args().check
    for name, text in rendered().items():
        file = FOLDER / name
        if check and (not file.is_file() or file.read_text() != text):
            sys.exit(f"{file.name} is not what `python -m tools.generate_vectors` writes")
        if not check:
            file.write_text(text)


if __name__ == "__main__":
    main()
