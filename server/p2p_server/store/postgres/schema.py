"""The tables, and how a database of any earlier version becomes one of this version.

They are laid out as those of the SQLite store, whose `schema.py` says why. What differs:

- All stands in a schema of its own, so that a database may be shared with other programs.
- `leases` holds nothing but the ends of leases: rows that change every few seconds must be small.
- `directory_now` is the one clock by which leases end, whichever instance asks.
- `changes` is what announces changed lately, for the other instances. It is not logged: after a
  crash of the database they look at everything anew.
"""

from typing import Final

import asyncpg

from p2p_server.config import without_password
from p2p_server.store.errors import StoreUnusable
from p2p_server.store.postgres.pool import SCHEMA, Connection, Pool

LOCK: Final = 0x50325044  # "P2PD"
LEAST_SERVER_VERSION: Final = 130_000
_TABLES: Final = (
    *("secrets", "users", "catalogs", "peers", "leases", "resources", "partials"),
    *("challenges", "changes"),
)

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE FUNCTION directory_now() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT clock_timestamp()';

    CREATE TABLE secrets (name text PRIMARY KEY, value bytea NOT NULL);

    CREATE TABLE users (
        folded_name text COLLATE "C" PRIMARY KEY,
        name text NOT NULL,
        key_fingerprint text NOT NULL,
        bound_at float8 NOT NULL
    );

    CREATE TABLE catalogs (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        discarded boolean NOT NULL DEFAULT false
    );
    CREATE INDEX catalogs_discarded ON catalogs (number) WHERE discarded;

    CREATE TABLE peers (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        peer_id text COLLATE "C" NOT NULL UNIQUE,
        user_name text NOT NULL,
        folded_user text COLLATE "C" NOT NULL REFERENCES users,
        token_hash bytea NOT NULL UNIQUE,
        certificate_der bytea NOT NULL,
        listed boolean NOT NULL,
        observed_host text NOT NULL,
        online_since float8 NOT NULL,
        endpoint_statuses text NOT NULL,  -- JSON: [[host, port, verdict], ...]
        visible boolean NOT NULL DEFAULT false,
        ended_at float8,
        held_epoch text NOT NULL DEFAULT '',
        held_counter bigint NOT NULL DEFAULT 0,
        taken_snapshot_id text NOT NULL DEFAULT '',
        catalog bigint UNIQUE REFERENCES catalogs,
        resource_count bigint NOT NULL DEFAULT 0,
        partial_count bigint NOT NULL DEFAULT 0,
        size_total numeric NOT NULL DEFAULT 0,  -- what peers say may exceed 64 bits
        staged_snapshot_id text NOT NULL DEFAULT '',
        staged_epoch text NOT NULL DEFAULT '',
        staged_counter bigint NOT NULL DEFAULT 0,
        staged_next_index bigint NOT NULL DEFAULT 0,
        staged_catalog bigint UNIQUE REFERENCES catalogs,
        staged_resource_count bigint NOT NULL DEFAULT 0,
        staged_partial_count bigint NOT NULL DEFAULT 0,
        staged_size_total numeric NOT NULL DEFAULT 0
    );
    CREATE INDEX peers_by_user ON peers (folded_user, peer_id);
    CREATE INDEX peers_ended ON peers (ended_at) WHERE ended_at IS NOT NULL;

    CREATE TABLE leases (
        token_hash bytea PRIMARY KEY,
        ends_at timestamptz NOT NULL
    ) WITH (fillfactor = 60);

    CREATE TABLE resources (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        catalog bigint NOT NULL,
        path text COLLATE "C" NOT NULL,
        folded_path text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        size_bytes bigint NOT NULL,
        digest bytea NOT NULL,
        manifest_digest bytea NOT NULL,
        modified_us bigint NOT NULL,
        media_type text COLLATE "C" NOT NULL
    );
    CREATE UNIQUE INDEX resources_by_catalog ON resources (catalog, path);
    CREATE INDEX resources_by_path ON resources (folded_path, number);
    CREATE INDEX resources_by_size ON resources (size_bytes);
    CREATE INDEX resources_by_time ON resources (modified_us);
    CREATE INDEX resources_by_digest ON resources (digest, catalog);
    CREATE INDEX resources_by_name ON resources (name);
    CREATE INDEX resources_by_media_type ON resources (media_type);
    CREATE INDEX resources_by_trigram ON resources
        USING gin (folded_path {trigram_schema}.gin_trgm_ops)
        WITH (gin_pending_list_limit = 1024);  -- KiB that each search reads through
    ALTER TABLE resources ALTER COLUMN folded_path SET STATISTICS 1000;
    ALTER TABLE resources SET (autovacuum_analyze_scale_factor = 0.02);

    CREATE TABLE partials (
        catalog bigint NOT NULL,
        digest bytea NOT NULL,
        manifest_digest bytea NOT NULL,
        size_bytes bigint NOT NULL,
        PRIMARY KEY (catalog, digest)
    );
    CREATE INDEX partials_by_digest ON partials (digest, catalog);

    CREATE TABLE challenges (challenge bytea PRIMARY KEY, used_at timestamptz NOT NULL);
    CREATE INDEX challenges_by_time ON challenges (used_at);

    CREATE UNLOGGED TABLE changes (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        changed_at timestamptz NOT NULL,
        delta bytea NOT NULL
    );
    """,
)


async def migrate(pool: Pool) -> None:
    """Brings the schema up to date, in one transaction, from whatever it is now.

    Raises StoreUnusable (nothing touched), or what asyncpg raises.
    """
    shown = without_password(pool.url)
    connection = await pool.connect()
    try:
        await _check_server(connection, shown)
        async with connection.transaction():
            await connection.execute(
                "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; "
                "SET LOCAL synchronous_commit = on"
            )
            # Another instance may do the same at the same time: the second finds nothing to do.
            await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            version = await _version(connection, shown)
            if version < len(MIGRATIONS):
                await _bring_up_to_date(connection, version, shown)
            await _check_tables(connection, shown)
    finally:
        await connection.close(timeout=1)


async def _check_server(connection: Connection, shown: str) -> None:
    """Raises StoreUnusable for a server or a database that cannot hold a directory."""
    number = int(await connection.fetchval("SHOW server_version_num"))
    if number < LEAST_SERVER_VERSION:
        raise StoreUnusable(
            f"the database {shown} is of PostgreSQL {number // 10_000}; 13 is the least"
        )
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StoreUnusable(
            f"the database {shown} has the encoding {encoding}: make one with "
            "`createdb --encoding UTF8 --template template0`"
        )


async def _version(connection: Connection, shown: str) -> int:
    """0: there is nothing yet. Raises StoreUnusable for what is not ours, or is newer."""
    if not await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", SCHEMA):
        return 0
    version = None
    if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.version"):
        version = await connection.fetchval(f"SELECT max(number) FROM {SCHEMA}.version")
    if version is None:
        raise StoreUnusable(
            f"the schema {SCHEMA} of the database {shown} was not made by p2p-server: drop or "
            "rename it, or use another database"
        )
    if version > len(MIGRATIONS):
        raise StoreUnusable(
            f"the database {shown} was made by a newer p2p-server (its version is {version}, "
            f"this one knows {len(MIGRATIONS)}): use that one, or another database"
        )
    return int(version)


async def _bring_up_to_date(connection: Connection, version: int, shown: str) -> None:
    try:
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreUnusable(
            f"the database {shown} does not let us make what we need ({error}): make its user "
            "the owner of the database"
        ) from None
    except asyncpg.UndefinedFileError:
        raise StoreUnusable(
            "PostgreSQL lacks the extension pg_trgm: install it (package postgresql-contrib)"
        ) from None
    trigram_schema = await connection.fetchval(
        "SELECT quote_ident(n.nspname) FROM pg_extension AS e "
        "JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'"
    )
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS {SCHEMA}.version (number int PRIMARY KEY)"
    )
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        await connection.execute(script.format(trigram_schema=trigram_schema))
        await connection.execute(f"INSERT INTO {SCHEMA}.version (number) VALUES ($1)", number)


async def _check_tables(connection: Connection, shown: str) -> None:
    """Raises StoreUnusable for a database that is not whole."""
    missing = await connection.fetch(
        "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL",
        [f"{SCHEMA}.{table}" for table in _TABLES],
    )
    if missing:
        raise StoreUnusable(
            f"the database {shown} is damaged (there is no {missing[0]['name']}): put a "
            "backup in its place"
        )
