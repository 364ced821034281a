"""Whatever goes wrong ends as one sentence, one event and one exit status."""

import json
import signal
from collections.abc import Callable

import pytest

from p2p_client.cli.failures import Stopped, guarded, root_cause
from p2p_client.cli.render import Output
from p2p_client.errors import (
    Ambiguous,
    DirectoryUnreachable,
    LocalRefusal,
    NotFound,
    PeerError,
    TransferFailed,
    UsageError,
)


def raising(error: BaseException) -> Callable[[], object]:
    def command() -> object:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (UsageError("x"), 2, "USAGE"),
        (NotFound("x"), 3, "NOT_FOUND"),
        (Ambiguous("x", ["a:b"]), 4, "AMBIGUOUS"),
        (DirectoryUnreachable("x"), 5, "DIRECTORY_UNREACHABLE"),
        (TransferFailed("x"), 6, "TRANSFER_FAILED"),
        (LocalRefusal("x"), 7, "REFUSED"),
        (KeyboardInterrupt(), 130, "INTERRUPTED"),
        (Stopped(signal.SIGINT, "x"), 130, "INTERRUPTED"),
        (Stopped(signal.SIGTERM), 143, "TERMINATED"),
        (ZeroDivisionError("x"), 1, "INTERNAL"),
        (ExceptionGroup("", [ValueError(), ExceptionGroup("", [NotFound("x")])]), 3, "NOT_FOUND"),
    ],
)
def test_an_error_has_its_status_and_its_event(
    error: BaseException, status: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raising(error), Output(json=True)) == status

    printed = capsys.readouterr()
    record = json.loads(printed.out)
    assert (record["event"], record["code"], record["reason"]) == ("error", status, reason)
    assert printed.err.startswith("p2p-client: ")
    assert "Traceback" not in printed.err


def test_candidates_stand_below_the_sentence_and_in_the_event(
    capsys: pytest.CaptureFixture[str],
) -> None:
    guarded(raising(Ambiguous("which?", ["a:x", "b:two words"])), Output(json=True))

    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["p2p-client: which?", "a:x", "'b:two words'"]
    assert json.loads(printed.out)["candidates"] == ["a:x", "b:two words"]


def test_a_message_is_one_line_whatever_it_quotes(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(raising(NotFound("no \x1b[2J\nfile \u202e")), Output())

    assert capsys.readouterr().err == "p2p-client: no \\x1b[2J\\x0afile \\u202e\n"


def test_a_traceback_is_for_verbose_only(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(raising(ZeroDivisionError("x")), Output())
    assert capsys.readouterr().err == (
        "p2p-client: internal error: ZeroDivisionError: x; run with -v for details\n"
    )

    guarded(raising(ZeroDivisionError("x")), Output(verbose=True))
    assert "Traceback" in capsys.readouterr().err


def test_what_a_command_returns_is_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: 7, Output()) == 7
    assert guarded(lambda: None, Output()) == 0
    assert capsys.readouterr() == ("", "")


def test_of_several_errors_the_one_people_can_act_on_is_told() -> None:
    wanted: PeerError = NotFound("x")

    assert root_cause(BaseExceptionGroup("", [OSError(), wanted])) is wanted
    assert isinstance(root_cause(BaseExceptionGroup("", [OSError()])), OSError)
