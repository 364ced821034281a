"""scp from an sshd of our own with keys of our own; the cipher is what both ends choose."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.contenders.contender import Contender, program, version_of
from bench.support.processes import daemon, free_port

NAME = "scp (encrypted, not verified)"


@contextlib.contextmanager
def scp(shared: Path, scratch: Path) -> Iterator[Contender]:
    client, server = program("scp", "openssh-client"), program("sshd", "openssh-server")
    home, port = scratch / "ssh", free_port()
    home.mkdir(mode=0o700)
    for key in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / key)], check=True
        )
    (home / "authorized").write_bytes((home / "user.pub").read_bytes())
    (home / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {home}/host\nPidFile none\n"
        f"AuthorizedKeysFile {home}/authorized\nStrictModes no\nUsePAM no\n"
        "Subsystem sftp internal-sftp\n"
    )
    with contextlib.suppress(OSError):
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd of root wants it for its unprivileged half
    options = [
        *("-q", "-P", str(port), "-i", str(home / "user")),
        *("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={home}/known"),
    ]
    with daemon([server, "-D", "-e", "-f", str(home / "config")], port) as pid:
        yield Contender(
            NAME,
            lambda file, target: [client, *options, f"127.0.0.1:{shared / file}", str(target)],
            serving=(pid,),
            version=f"OpenSSH {version_of('ssh', '-V')}",
        )
