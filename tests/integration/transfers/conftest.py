"""Three users at a directory that soon notices who is gone."""

import pytest
from tests.support.programs.network import Network, User


@pytest.fixture
def users(network: Network) -> tuple[User, User, User]:
    network.directory(lease_seconds=6)
    return network.user("alice"), network.user("bob"), network.user("carol")
