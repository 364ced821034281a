"""From what went wrong to one sentence and an exit status; never a traceback unasked.

Also prepares the streams that all is written to. Runs no loop: see `run.py`.
"""

import os
import signal
import sys
from collections.abc import Callable

from p2p_client.cli.render import PROGRAM, Output, printable
from p2p_client.errors import PeerError

BROKEN_PIPE = 128 + signal.SIGPIPE


class Stopped(Exception):
    """We were told to stop before the work was done, and have cleaned up.

    The text says what is worth saying to whoever stopped us.
    """

    def __init__(self, signal_number: int, message: str = "") -> None:
        super().__init__(message or _HOW_STOPPED.get(signal_number, f"signal {signal_number}"))
        self.signal_number = signal_number

    @property
    def exit_status(self) -> int:
        return 128 + self.signal_number

    def resumable(self) -> "Stopped":
        """The same, of a download that has begun."""
        return Stopped(
            self.signal_number, f"{self}: what was verified is kept, the same command resumes"
        )

    @property
    def reason(self) -> str:
        return "INTERRUPTED" if self.signal_number == signal.SIGINT else "TERMINATED"


_HOW_STOPPED = {
    int(signal.SIGINT): "interrupted",
    int(signal.SIGTERM): "terminated",
    int(signal.SIGHUP): "hung up",
}


class ReaderGone(Exception):
    """Nobody reads our output any more, as after `| head`."""


def guarded(command: Callable[[], object], output: Output) -> int:
    """Runs a command and says what went wrong; the exit status.

    What the command returns is its status where it is a number. SystemExit passes.
    """
    try:
        status = command()
        sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:
        try:
            return _tell(error, output)
        except BrokenPipeError:
            return _reader_is_gone()
    return status if isinstance(status, int) else 0


def _tell(error: BaseException, output: Output) -> int:
    cause = root_cause(error)
    if isinstance(cause, BrokenPipeError | ReaderGone):
        return _reader_is_gone()
    if isinstance(cause, KeyboardInterrupt):
        cause = Stopped(signal.SIGINT)
    if output.verbose and not isinstance(cause, Stopped):
        _show_traceback(error, output)
    if isinstance(cause, PeerError):
        output.error(cause)
        return cause.exit_status
    if isinstance(cause, Stopped):
        output.failure(str(cause), cause.exit_status, cause.reason)
        return cause.exit_status
    output.failure(describe_internal(cause, verbose=output.verbose), 1, "INTERNAL")
    return 1


def describe_internal(error: BaseException, *, verbose: bool) -> str:
    """One line about a fault of ours."""
    advice = "" if verbose else "; run with -v for details"
    return f"internal error: {type(error).__name__}: {error}{advice}"


def _show_traceback(error: BaseException, output: Output) -> None:
    import traceback

    for line in "".join(traceback.format_exception(error)).splitlines():
        output.say(line)


def root_cause(error: BaseException) -> BaseException:
    """The error to tell people: of a group the first one that they can act on, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    causes = [root_cause(part) for part in error.exceptions]
    told = (cause for cause in causes if isinstance(cause, PeerError | Stopped | KeyboardInterrupt))
    return next(told, causes[0])


def _reader_is_gone() -> int:
    # Not worth a word. But the interpreter flushes stdout once more at exit, and would complain.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return BROKEN_PIPE


def prepare_streams(*, verbose: bool) -> None:
    """Output that never fails on a character; logs of libraries only with `-v`."""
    import logging

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started us
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123  # open to the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if not verbose:
        logging.getLogger().addHandler(logging.NullHandler())
        # grpc's C core writes to stderr by itself, past every logger.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        return

    class Printable(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return "\n".join(map(printable, super().format(record).splitlines()))

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Printable(f"{PROGRAM}: %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("p2p_client").setLevel(logging.DEBUG)
