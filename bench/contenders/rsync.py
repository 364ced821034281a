"""rsync from its daemon in plaintext. It checks what came itself, with a checksum of the whole."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from bench.contenders.contender import Contender, program, version_of
from bench.support.processes import daemon, free_port

NAME = "rsync from its daemon"


@contextlib.contextmanager
def rsync(shared: Path, scratch: Path) -> Iterator[Contender]:
    client = program("rsync", "rsync")
    home, port = scratch / "rsync", free_port()
    home.mkdir()
    (home / "rsyncd.conf").write_text(
        f"port = {port}\naddress = 127.0.0.1\nuse chroot = no\npid file = {home}/pid\n"
        f"[shared]\npath = {shared}\nread only = yes\n"
    )
    command = [client, "--daemon", "--no-detach", f"--config={home / 'rsyncd.conf'}"]
    with daemon(command, port) as pid:
        url = f"rsync://127.0.0.1:{port}/shared"
        yield Contender(
            NAME,
            lambda file, target: [client, "-a", f"{url}/{file}", str(target)],
            serving=(pid,),
            version=f"rsync {version_of(client, '--version')}",
        )
