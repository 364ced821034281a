"""Where the program starts: a signal is answered properly before anything else is loaded."""

import gc
import os
import signal
import sys


def main() -> int:
    """Runs the command line; the exit status."""
    # What is loaded stays: looking through it again and again is an eighth of a short command's
    # time. `cli.run` has cycles collected again once a command has been running for a while.
    gc.disable()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    # Stays until the command has an event loop: nothing needs cleaning up before that.
    ended = 0 if "share" in sys.argv else 128 + signal.SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: os._exit(ended))
    from p2p_client.cli.main import main as run

    status = run(begin=_raise_interrupts)
    # All that had to be closed or kept is by now. The interpreter would look through everything
    # once more for cycles before it ends: a sixth of a short command's time.
    gc.freeze()
    return status


def _raise_interrupts() -> None:
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
