"""A network of real processes for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.programs.network import Network


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    with Network(tmp_path) as network:
        yield network
