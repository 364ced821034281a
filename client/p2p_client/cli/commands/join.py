"""`join`: remember a directory and a user name, and see that both work."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2p_client.cli.options import GlobalOptions
from p2p_client.cli.render import Output

if TYPE_CHECKING:
    from p2p_client.config import Settings


def join(
    context: typer.Context,
    directory: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="Where the directory answers.")
    ],
) -> None:
    """Remember directory and user (--user NAME), and register once."""
    from p2p_client.cli.run import run

    options = context.ensure_object(GlobalOptions)
    run(_join(options.settings(server=directory), options.output))


async def _join(settings: "Settings", output: Output) -> None:
    from p2p_client.cli.run import tell_first_contact
    from p2p_client.peer import Peer

    async with Peer(settings, on_notice=output.notice) as peer:
        await peer.join()
        await peer.remember()
        found = peer.directory_fingerprint
        output.record(
            {
                "event": "joined",
                "server": peer.directory_address,
                "user": peer.user,
                "fingerprint": found,
                "identity": peer.fingerprint,
                "first_contact": peer.first_contact,
            }
        )
        output.result(f"joined {peer.directory_address} as {peer.user}")
        output.result(f"  directory  {found or 'without TLS: anybody could answer in its place'}")
        output.result(f"  you        {peer.fingerprint}")
        tell_first_contact(peer, output.notice)
