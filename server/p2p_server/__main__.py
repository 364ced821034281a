"""Where the program starts: a signal is answered properly before anything else is loaded."""

import os
import signal
import sys

_ONE_SHOT = {"users", "check", "backup", "restore"}


def main() -> None:
    """Runs the command line; ends by SystemExit."""
    # They stay until the directory has an event loop: nothing needs cleaning up before that.
    for number in (signal.SIGINT, signal.SIGTERM):
        ended = 128 + number if _ONE_SHOT & set(sys.argv) else 0
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_, status=ended: os._exit(status))
    from p2p_server.cli.main import app

    app()


if __name__ == "__main__":
    main()
