"""Whether proto/ breaks the contract of the last release, told by buf (buf.yaml says what counts).

The last release is the newest tag v<number>… that this commit contains. Without one nothing can be
broken yet, and that is said.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUF = Path(sys.executable).parent / "buf"


def last_release() -> str | None:
    command = ("git", "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None


def main() -> None:
    release = last_release()
    if release is None:
        print("no release tag (v<number>) yet: nothing that proto/ could break")
        return
    git = subprocess.run(
        ("git", "rev-parse", "--path-format=absolute", "--git-common-dir"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    against = f"{git.stdout.strip()}#tag={release}"
    if subprocess.run((str(BUF), "breaking", "--against", against), cwd=ROOT).returncode != 0:
        sys.exit(f"proto/ breaks the contract of {release}: within v1 things are only added")
    print(f"proto/ keeps the contract of {release}")


if __name__ == "__main__":
    main()
