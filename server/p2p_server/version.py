"""Which version of the software this is."""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "p2p-share"


def software_version() -> str:
    """As installed; a tree that was never installed has none."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0+uninstalled"
