"""What all tests need of the process that they run in, and a PostgreSQL for those that want one."""

import contextlib
import signal
from collections.abc import Iterator

import pytest
from tests.support.programs.postgres import Cluster, a_cluster, programs

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background of a script: the programs under test would ignore Ctrl-C, too.
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)

NO_POSTGRES = (
    "there is no PostgreSQL on this machine: install it (Debian: `apt-get install postgresql`)"
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One server for all tests of the process; a test that stops it must start it again."""
    if programs() is None:
        pytest.skip(NO_POSTGRES)
    with a_cluster() as cluster:
        yield cluster


@pytest.fixture
def database(postgres: Cluster) -> Iterator[str]:
    """The URL of a database of this test's own."""
    url = postgres.database()
    yield url
    postgres.drop(url)
