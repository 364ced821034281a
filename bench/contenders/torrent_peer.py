"""A BitTorrent peer on libtorrent, tuned for one fast neighbour over TCP.

Usage: python torrent_peer.py make v1|v2 FILE TORRENT
       python torrent_peer.py seed PORT FOLDER TORRENTS
       python torrent_peer.py fetch PORT TORRENT TARGET

A program of its own, that knows nothing of ours: what is measured is all that somebody would have
to start. `fetch` ends when every piece was hashed and written out.
"""

import sys
import time
from pathlib import Path

import libtorrent as lt

PIECE_BYTES = 1 << 20
FETCH_SECONDS = 600.0
SEED_SECONDS = 24 * 3600.0
KINDS = {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only}


def session(listen: str) -> lt.session:
    return lt.session(
        {
            "listen_interfaces": listen,
            "alert_mask": lt.alert.category_t.status_notification
            | lt.alert.category_t.error_notification
            | lt.alert.category_t.storage_notification,
            # TCP only, in the clear, nobody to be looked for.
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "out_enc_policy": int(lt.enc_policy.pe_disabled),
            "in_enc_policy": int(lt.enc_policy.pe_disabled),
            "allow_multiple_connections_per_ip": True,
            # libtorrent's own presets for high performance, and more where that was faster.
            "unchoke_slots_limit": -1,
            "connection_speed": 1000,
            "smooth_connects": False,
            "request_queue_time": 10,
            "max_out_request_queue": 5000,
            "max_allowed_in_request_queue": 5000,
            "send_buffer_low_watermark": 1 << 20,
            "send_buffer_watermark": 8 << 20,
            "send_buffer_watermark_factor": 200,
            "max_queued_disk_bytes": 64 << 20,
            "recv_socket_buffer_size": 4 << 20,
            "send_socket_buffer_size": 4 << 20,
            "aio_threads": 4,
            "hashing_threads": 2,
            "tick_interval": 50,
        }
    )


def parameters(torrent: Path, folder: Path) -> lt.add_torrent_params:
    found = lt.load_torrent_file(str(torrent))
    found.save_path = str(folder)
    found.flags = lt.torrent_flags.default_flags & ~(
        lt.torrent_flags.paused | lt.torrent_flags.auto_managed
    )
    return found


def make(kind: str, file: Path, torrent: Path) -> None:
    """v1: SHA-1 of each piece. v2: a tree of SHA-256 over blocks of 16 KiB."""
    files = lt.list_files(str(file))
    maker = lt.create_torrent(files, PIECE_BYTES, KINDS[kind])
    lt.set_piece_hashes(maker, str(file.parent))
    torrent.write_bytes(lt.bencode(maker.generate()))


def seed(port: int, folder: Path, torrents: Path) -> None:
    running = session(f"127.0.0.1:{port}")
    for torrent in torrents.glob("*.torrent"):
        given = parameters(torrent, folder)
        given.flags |= lt.torrent_flags.seed_mode
        running.add_torrent(given)
    time.sleep(SEED_SECONDS)


def fetch(port: int, torrent: Path, target: Path) -> None:
    """Connects to the seeder at once: no tracker, no search."""
    running = session("127.0.0.1:0")
    given = parameters(torrent, target.parent)
    given.peers = [("127.0.0.1", port)]
    name = given.ti.name() if given.ti else ""
    fetched = running.add_torrent(given)
    if not _comes(running, lt.torrent_finished_alert):
        sys.exit("it did not finish")
    fetched.flush_cache()
    if not _comes(running, lt.cache_flushed_alert):
        sys.exit("it was not written out")
    (target.parent / name).rename(target)


def _comes(running: lt.session, kind: type[lt.alert]) -> bool:
    """Whether such an alert came in time. Ends the program on an error."""
    deadline = time.monotonic() + FETCH_SECONDS
    while time.monotonic() < deadline:
        running.wait_for_alert(1000)
        for alert in running.pop_alerts():
            if isinstance(alert, lt.torrent_error_alert | lt.file_error_alert):
                sys.exit(alert.message())
            if isinstance(alert, kind):
                return True
    return False


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", kind, file, torrent]:
            make(kind, Path(file), Path(torrent))
        case ["seed", port, folder, torrents]:
            seed(int(port), Path(folder), Path(torrents))
        case ["fetch", port, torrent, target]:
            fetch(int(port), Path(torrent), Path(target))
        case _:
            sys.exit(__doc__)
