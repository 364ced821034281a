"""`menu`: finds out who and where, then hands over to the interactive menu."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2p_client.cli.options import GlobalOptions, parse_addresses, parse_user
from p2p_client.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from p2p_client.cli.menu.screen import Screen
    from p2p_client.config import Settings
    from p2p_client.state import Joined


def menu(
    context: typer.Context,
    host: Annotated[
        str | None,
        typer.Argument(
            metavar="HOST", help="The directory, HOST or HOST:PORT.", show_default=False
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Argument(metavar="USER", help="Your name.", show_default=False)
    ] = None,
) -> None:
    """The interactive menu: announce, query, download by choosing."""
    from p2p_client.cli.run import run_until_stopped

    options = context.ensure_object(GlobalOptions)
    if options.json:
        raise UsageError("the menu is for people: --json goes with the other commands")
    settings = options.settings(server=host, user=user)
    run_until_stopped(_menu(settings, verbose=options.verbose))


async def _menu(settings: "Settings", *, verbose: bool) -> None:
    from p2p_client.cli.menu.entries import run_menu
    from p2p_client.cli.menu.screen import Screen

    screen = Screen()
    await run_menu(await _ask_missing(settings, screen), screen, verbose=verbose)


async def _ask_missing(settings: "Settings", screen: "Screen") -> "Settings":
    """The settings with a directory and a user: as given, as joined, or as answered now."""
    from dataclasses import replace

    joined = _joined(settings)
    if settings.server is None and joined is None:
        answer = await _ask_valid(screen, "Directory (HOST or HOST:PORT):", parse_addresses)
        settings = replace(settings, server=parse_addresses(answer))
    if settings.user is None and joined is None:
        answer = await _ask_valid(screen, "Your user name:", parse_user)
        settings = replace(settings, user=answer)
    return settings


def _joined(settings: "Settings") -> "Joined | None":
    from p2p_client.state import StateFolder, default_state_dir

    return StateFolder(settings.state_dir or default_state_dir()).joined()


async def _ask_valid(screen: "Screen", prompt: str, check: "Callable[[str], object]") -> str:
    from p2p_client.cli.menu.screen import EndOfInput

    while True:
        try:
            answer = await screen.ask(prompt)
        except EndOfInput:
            raise UsageError("a directory and a user name are needed: menu HOST USER") from None
        try:
            check(answer)
        except UsageError as error:
            screen.tell(str(error))
        else:
            return answer
