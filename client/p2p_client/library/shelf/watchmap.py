"""Which folders on disk are to be watched, and whose they are. Pure."""

from collections.abc import Mapping

from p2p_client.library.disk.scan import Identity

FolderKey = tuple[str, str]
"""A root's name, and the disk's path of a folder below it."""


class WatchMap:
    """Several roots may meet in one folder on disk; `version` grows with every change."""

    def __init__(self) -> None:
        self.version = 0
        self._identities: dict[str, Identity | None] = {}
        self._keys: dict[str, list[FolderKey]] = {}
        self._paths: dict[FolderKey, str] = {}

    @property
    def folders(self) -> Mapping[str, Identity | None]:
        """The folder that each path is, so that another one in its place is noticed."""
        return self._identities

    def put(self, key: FolderKey, path: str, identity: Identity | None) -> None:
        if self._paths.get(key) == path and self._identities[path] == identity:
            return
        if key not in self._paths:
            self._paths[key] = path
            self._keys.setdefault(path, []).append(key)
        self._identities[path] = identity
        self.version += 1

    def drop(self, key: FolderKey) -> None:
        path = self._paths.pop(key, None)
        if path is None:
            return
        self._keys[path].remove(key)
        if not self._keys[path]:
            del self._keys[path], self._identities[path]
        self.version += 1

    def keys_at(self, path: str) -> list[FolderKey]:
        """Whose folders to look at when something happened at this path on disk."""
        above = path.rpartition("/")[0] or "/"
        return [*self._keys.get(path, ()), *(self._keys.get(above, ()) if above != path else ())]
