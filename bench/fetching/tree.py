"""How long does a folder of many small files take, as a whole process, beside rsync?

`p2p-client get OWNER:FOLDER/` and `rsync -a` from its daemon take turns over loopback, with the
files in the page cache. Every tree is compared with the original, name by name and byte by byte.
Each run gets a folder of its own and none is removed before the end: ext4 is slow for seconds at
making files where many have just been removed, and whoever came next would pay for that.
Ours verifies each file and makes it durable before it gets its name; rsync makes nothing durable.
"""

import contextlib
import itertools
import os
import tempfile
from pathlib import Path

from blake3 import blake3
from tests.support.programs.network import CLIENT

from bench.contenders.contender import Contender
from bench.contenders.ours import INSECURE, TLS, ours_insecure, ours_tls
from bench.contenders.rounds import in_turns, start_all, table_of
from bench.contenders.rsync import NAME as RSYNC
from bench.contenders.rsync import rsync
from bench.support.files import settled
from bench.support.processes import Cost, Failed, run
from bench.support.question import Answer, Options, median_ratio

FILE_BYTES = 4 << 10
FILE_COUNT = 10_000
QUICK_FILE_COUNT = 200
FILES_IN_FOLDER = 100
TREE = "tree"


def measure(options: Options) -> Answer:
    file_count = options.size(FILE_COUNT, QUICK_FILE_COUNT)
    with contextlib.ExitStack() as stack:
        scratch = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="p2p-bench-", dir=options.folder)
            )
        )
        tree = make_tree(scratch / "shared" / TREE, file_count)
        digest = tree_digest(tree)
        starts = (ours_tls, ours_insecure, rsync)
        contenders, notes = start_all(stack, starts, tree.parent, scratch)

        numbers = itertools.count()

        def fetch(contender: Contender) -> Cost:
            out = settled(scratch / f"out-{next(numbers)}")
            cost = run(_command(contender, tree, out), contender.environment)
            if tree_digest(_copy(out)) != digest:
                raise Failed(f"{contender.name} brought other files")
            return cost

        found = in_turns(contenders, fetch, options.runs)
    what = f"{file_count:,} × {FILE_BYTES >> 10} KiB in {file_count // FILES_IN_FOLDER} folders"
    figures = {}
    if RSYNC in found:
        figures["tree-to-rsync"] = median_ratio(found[RSYNC].seconds, found[INSECURE].seconds)
    return Answer(f"{table_of(what, found, file_count, 'files')}\n\n{notes}", figures)


def make_tree(root: Path, file_count: int) -> Path:
    for number in range(file_count):
        folder = root / f"{number // FILES_IN_FOLDER:05}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number:07}.bin").write_bytes(os.urandom(FILE_BYTES))
    return root


def tree_digest(root: Path) -> str:
    """Of the relative names and the bytes of all files below."""
    hasher = blake3()
    for file in sorted(path for path in root.rglob("*") if path.is_file()):
        data = file.read_bytes()
        hasher.update(f"{file.relative_to(root)}\0{len(data)}\0".encode() + data)
    return hasher.hexdigest()


def _command(contender: Contender, tree: Path, out: Path) -> list[str]:
    if contender.name in (TLS, INSECURE):
        return [str(CLIENT), "get", f"sharer:{tree.parent.name}/{tree.name}/", "-d", str(out)]
    return contender.command(tree.name, out)


def _copy(out: Path) -> Path:
    """Where the tree is in there, whatever folders a program put around it."""
    found = next((path for path in out.rglob(TREE) if path.is_dir()), None)
    if found is None:
        raise Failed(f"no folder {TREE} came")
    return found
