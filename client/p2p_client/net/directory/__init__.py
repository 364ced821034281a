"""The directory as its clients see it: calls, their messages, the connection."""

from p2p_client.net.directory.client import DirectoryClient

__all__ = ["DirectoryClient"]
