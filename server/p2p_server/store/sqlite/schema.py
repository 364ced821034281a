"""The tables, and how a database of any earlier version becomes one of this version.

How the catalog is laid out:

- A *catalog* is a number under which the resources of one library are filed. Each peer has at most
  one that is answered from (`peers.catalog`) and one in which a snapshot is being staged. To swap
  them, or to forget a library of any size, is to change one row; what no peer points to any more is
  marked `discarded` and deleted in slices by `purge`.
- An answer joins resources with peers that are visible, so a peer comes and goes by one row too.
- `folded_path` (casefolded, NFC) is what is searched and sorted by. Its index has the catalog too:
  rows that don't match are passed over without a look into the table. The indices by size and time
  are slim, for every byte in an index costs announces (with folded path and catalog in them a
  third): equal sizes are sorted when asked for.
- `paths` is the trigram index of the folded paths. It holds neither the text nor positions
  (contentless, detail=none): a match there is a candidate, verified against the row. No trigger
  feeds it: a statement with triggers is a savepoint, and FTS5 writes all it has at each savepoint,
  which costs ten times as much as the rows themselves.
"""

import apsw

APPLICATION_ID = 0x50325044  # "P2PD"

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

    CREATE TABLE users (
        folded_name TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        key_fingerprint TEXT NOT NULL,
        bound_at REAL NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE catalogs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        discarded INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX catalogs_discarded ON catalogs (number) WHERE discarded;

    CREATE TABLE peers (
        number INTEGER PRIMARY KEY,
        peer_id TEXT NOT NULL UNIQUE,
        user TEXT NOT NULL,
        folded_user TEXT NOT NULL REFERENCES users (folded_name),
        token_hash BLOB NOT NULL UNIQUE,
        certificate_der BLOB NOT NULL,
        listed INTEGER NOT NULL,
        observed_host TEXT NOT NULL,
        online_since REAL NOT NULL,
        endpoint_statuses TEXT NOT NULL,  -- JSON: [[host, port, verdict], ...]
        visible INTEGER NOT NULL DEFAULT 0,
        ended_at REAL,
        held_epoch TEXT NOT NULL DEFAULT '',
        held_counter INTEGER NOT NULL DEFAULT 0,
        taken_snapshot_id TEXT NOT NULL DEFAULT '',
        catalog INTEGER UNIQUE REFERENCES catalogs,
        resource_count INTEGER NOT NULL DEFAULT 0,
        partial_count INTEGER NOT NULL DEFAULT 0,
        size_total TEXT NOT NULL DEFAULT '0',  -- decimal: what peers say may exceed 64 bits
        staged_snapshot_id TEXT NOT NULL DEFAULT '',
        staged_epoch TEXT NOT NULL DEFAULT '',
        staged_counter INTEGER NOT NULL DEFAULT 0,
        staged_next_index INTEGER NOT NULL DEFAULT 0,
        staged_catalog INTEGER UNIQUE REFERENCES catalogs,
        staged_resource_count INTEGER NOT NULL DEFAULT 0,
        staged_partial_count INTEGER NOT NULL DEFAULT 0,
        staged_size_total TEXT NOT NULL DEFAULT '0'
    ) STRICT;
    CREATE INDEX peers_by_user ON peers (folded_user, peer_id);
    CREATE INDEX peers_ended ON peers (ended_at) WHERE ended_at IS NOT NULL;

    CREATE TABLE resources (
        row INTEGER PRIMARY KEY,
        catalog INTEGER NOT NULL,
        path TEXT NOT NULL,
        folded_path TEXT NOT NULL,
        name TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        digest BLOB NOT NULL,
        manifest_digest BLOB NOT NULL,
        modified_us INTEGER NOT NULL,
        media_type TEXT NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX resources_by_catalog ON resources (catalog, path);
    CREATE INDEX resources_by_path ON resources (folded_path, catalog);
    CREATE INDEX resources_by_size ON resources (size_bytes);
    CREATE INDEX resources_by_time ON resources (modified_us);
    CREATE INDEX resources_by_digest ON resources (digest, catalog);
    CREATE INDEX resources_by_name ON resources (name);
    CREATE INDEX resources_by_media_type ON resources (media_type);

    CREATE VIRTUAL TABLE paths USING fts5 (
        folded_path,
        content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1'
    );

    CREATE TABLE partials (
        catalog INTEGER NOT NULL,
        digest BLOB NOT NULL,
        manifest_digest BLOB NOT NULL,
        size_bytes INTEGER NOT NULL,
        PRIMARY KEY (catalog, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX partials_by_digest ON partials (digest, catalog);
    """,
)


def version_of(connection: apsw.Connection) -> int:
    return int(connection.pragma("user_version"))


def migrate(connection: apsw.Connection) -> None:
    """Brings the schema up to date, one transaction per version, from whatever it is now.

    Another process may do the same at the same time: each asks again once it has the write lock.
    """
    while version_of(connection) < len(MIGRATIONS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = version_of(connection)
            if version < len(MIGRATIONS):
                connection.execute(MIGRATIONS[version])
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", version + 1)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
