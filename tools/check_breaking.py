"""Whether proto/ breaks the contract that others build on, told by buf (buf.yaml says what counts).

Usage: python tools/check_breaking.py [--release]

Compared with proto/released.binpb, an image of the contract as it was last given out, which every
clone has, however shallow; and with the newest tag v<number>… that this commit contains, if there
is one: so a commit that changes the image, too, is found out. --release writes the image anew, as
part of making a release, once nothing is broken.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).parent / "buf"
IMAGE = Path("proto") / "released.binpb"


def last_release(root: Path) -> str | None:
    """The tag; None: there is none, or a shallow clone left it out."""
    command = ("git", "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None


def breaks(root: Path) -> str:
    """What proto/ below `root` breaks, in buf's words; empty: nothing."""
    against = [str(IMAGE)]
    if (release := last_release(root)) is not None:
        command = ("git", "rev-parse", "--path-format=absolute", "--git-common-dir")
        git = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        against.append(f"{git.stdout.strip()}#tag={release}")
    found = []
    for image in against:
        command = (str(BUF), "breaking", "--against", image)
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        if done.returncode != 0:
            found.append(f"{Path(image).name}:\n{done.stdout}{done.stderr}")
    return "\n".join(found)


def write_image(root: Path) -> None:
    command = (str(BUF), "build", "--exclude-source-info", "--output", str(IMAGE))
    subprocess.run(command, cwd=root, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--release", action="store_true", help="write the image anew")
    release = parser.parse_args().release
    if broken := breaks(ROOT):
        sys.exit(f"proto/ breaks the contract: within v1 things are only added\n{broken}")
    if release:
        write_image(ROOT)
    tag = last_release(ROOT)
    print(f"proto/ keeps the contract of {IMAGE}" + (f" and of {tag}" if tag else ""))


if __name__ == "__main__":
    main()
