from collections.abc import AsyncIterator

import pytest
from tests.support.downloads.downloads import Downloads, a_downloader


@pytest.fixture
async def downloads() -> AsyncIterator[Downloads]:
    async with a_downloader() as downloads:
        yield downloads
