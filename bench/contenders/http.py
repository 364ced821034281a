"""nginx in plaintext, with sendfile; read by curl and then b3sum, or by aria2c over connections."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from bench.contenders.contender import Contender, program, version_of
from bench.support.processes import daemon, free_port

CURL, ARIA2 = "nginx → curl, then b3sum", "nginx → aria2c -x4 (not verified)"


@contextlib.contextmanager
def curl(shared: Path, scratch: Path) -> Iterator[Contender]:
    tools = program("curl", "curl"), program("b3sum", "b3sum")
    with _nginx(shared, scratch / "nginx-curl") as (pid, url, version):
        yield Contender(
            CURL,
            lambda file, target: [
                *("sh", "-c", '"$1" -sf -o "$3" "$4" && "$2" "$3"', "sh", *tools),
                *(str(target), f"{url}/{file}"),
            ],
            serving=(pid,),
            version=f"{version}, curl {version_of(tools[0], '--version')}, "
            f"b3sum {version_of(tools[1], '--version')}",
        )


@contextlib.contextmanager
def aria2(shared: Path, scratch: Path) -> Iterator[Contender]:
    client = program("aria2c", "aria2")
    options = ("-q", "-x4", "-s4", "-k1M", "--file-allocation=none", "--no-conf")
    with _nginx(shared, scratch / "nginx-aria2") as (pid, url, _):
        yield Contender(
            ARIA2,
            lambda file, target: [
                *(client, *options, "-d", str(target.parent), "-o", target.name, f"{url}/{file}")
            ],
            serving=(pid,),
            version=f"aria2 {version_of(client, '--version')}",
        )


@contextlib.contextmanager
def _nginx(shared: Path, home: Path) -> Iterator[tuple[int, str, str]]:
    """Its process, the URL of the shared folder, and its version."""
    nginx, port = program("nginx", "nginx-light"), free_port()
    home.mkdir()
    (home / "nginx.conf").write_text(
        f"daemon off; pid {home}/pid; error_log {home}/error.log; worker_processes 1;\n"
        "events {}\n"
        "http { access_log off; sendfile on; tcp_nopush on;\n"
        f"  client_body_temp_path {home}/a; proxy_temp_path {home}/b; fastcgi_temp_path {home}/c;\n"
        f"  uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;\n"
        f"  server {{ listen 127.0.0.1:{port}; root {shared}; }} }}\n"
    )
    if os.getuid() == 0:  # its worker gives root up, and must still find the files
        for folder in (home.parent, shared):
            folder.chmod(0o755)
    with daemon([nginx, "-p", str(home), "-c", str(home / "nginx.conf")], port) as pid:
        yield pid, f"http://127.0.0.1:{port}", f"nginx {version_of(nginx, '-v')}"
