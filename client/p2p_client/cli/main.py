"""The program `p2p-client`: its global options, its commands, and the way in.

Light on purpose: what a command needs beyond the standard library and typer is imported by that
command when it runs, so that `--help` and mistakes answer at once.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from p2p_client.cli.commands.get import get
from p2p_client.cli.commands.identity import id_, identity
from p2p_client.cli.commands.join import join
from p2p_client.cli.commands.menu import menu
from p2p_client.cli.commands.search import peers, search
from p2p_client.cli.commands.share import share
from p2p_client.cli.commands.watch import watch
from p2p_client.cli.failures import ReaderGone, Stopped, guarded, prepare_streams
from p2p_client.cli.options import GlobalOptions, hoist
from p2p_client.cli.render import PROGRAM, Output
from p2p_client.errors import UsageError
from p2p_client.version import VERSION

COMMANDS: dict[str, Callable[..., None] | typer.Typer] = {
    "join": join,
    "share": share,
    "search": search,
    "watch": watch,
    "peers": peers,
    "get": get,
    "id": id_,
    "identity": identity,
    "menu": menu,
}


class Commands(TyperGroup):
    """The commands in the order in which people meet them, their failures left to `guarded`."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # vendored
        return list(COMMANDS)

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]  # vendored
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # typer would end with 130 and no word
            raise Stopped(signal.SIGINT) from None
        except BrokenPipeError as error:  # typer would end with 1
            raise ReaderGone from error


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {VERSION}")
        raise typer.Exit


Server = Annotated[
    str | None,
    typer.Option(
        envvar="P2P_SERVER",
        metavar="HOST:PORT[,...]",
        help="The directory, or several instances of it.  [default: as joined]",
    ),
]
User = Annotated[
    str | None,
    typer.Option(envvar="P2P_USER", metavar="NAME", help="Your name.  [default: as joined]"),
]
StateDir = Annotated[
    Path | None,
    typer.Option(envvar="P2P_STATE_DIR", metavar="DIR", help="Where your key and settings are."),
]
Fingerprint = Annotated[
    str | None,
    typer.Option(metavar="FP", help="The directory's key, known to you beforehand."),
]
Insecure = Annotated[
    bool | None,
    typer.Option(
        "--insecure", envvar="P2P_INSECURE", help="Without TLS, as the directory must be too."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON object a line on stdout, nothing else there.")
]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Say more on stderr; tracebacks too.")
]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
]


def root(
    context: typer.Context,
    server: Server = None,
    user: User = None,
    state_dir: StateDir = None,
    fingerprint: Fingerprint = None,
    insecure: Insecure = None,
    json: Json = False,
    verbose: Verbose = False,
    version: Version = False,
) -> None:
    """Share files with people, find theirs, and fetch them from each other: every byte verified."""
    context.obj = GlobalOptions(server, user, state_dir, fingerprint, insecure, json, verbose)
    if context.invoked_subcommand is not None:
        return
    if sys.stdin.isatty() and sys.stdout.isatty():
        menu(context)
        return
    typer.echo(context.get_help(), err=True)
    raise UsageError("no command was given, and without a terminal there is no menu")


def program(typed: str = "") -> typer.Typer:
    """All commands; only the one that was typed, if it is one: to build one takes a millisecond."""
    app = typer.Typer(
        name=PROGRAM,
        cls=Commands,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="The global options may also stand after COMMAND. "
        f"Start with `{PROGRAM} join HOST:PORT --user NAME`, then share, search and get.",
    )
    app.callback(invoke_without_command=True)(root)
    for name, command in COMMANDS.items():
        if typed in COMMANDS and name != typed:
            continue
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main(
    arguments: Sequence[str] | None = None, *, begin: Callable[[], None] = lambda: None
) -> int:
    """Runs one command line; the exit status.

    Args:
        begin: called once an interruption is told as what it is, not before.
    """
    typed = sys.argv[1:] if arguments is None else arguments
    try:
        hoisted, rest = hoist(typed)
    except UsageError as error:
        Output(json="--json" in typed).error(error)
        return error.exit_status
    verbose = bool({"-v", "--verbose"} & set(hoisted))
    _forget_empty_variables()
    prepare_streams(verbose=verbose)
    output = Output(json="--json" in hoisted, verbose=verbose)
    return guarded(lambda: _invoke(hoisted, rest, begin), output)


def _invoke(hoisted: list[str], rest: list[str], begin: Callable[[], None]) -> object:
    begin()
    app = program(rest[0] if rest else "")
    try:
        return app([*hoisted, *rest], standalone_mode=False, prog_name=PROGRAM)
    except typer.TyperException as error:
        raise UsageError(_one_sentence(error.format_message())) from None
    except typer.Abort:
        raise KeyboardInterrupt from None


def _one_sentence(text: str) -> str:
    sentence = " ".join(text.split()).rstrip(".")
    return f"{sentence[:1].lower()}{sentence[1:]}; `{PROGRAM} --help` shows what there is"


def _forget_empty_variables() -> None:
    """`P2P_SERVER=` in a script means that none is set."""
    for name in ("P2P_SERVER", "P2P_USER", "P2P_STATE_DIR", "P2P_INSECURE"):
        if not os.environ.get(name, "").strip():
            os.environ.pop(name, None)
