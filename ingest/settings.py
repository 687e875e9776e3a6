"""Settings: the environment variables that Tidemark reads, typed and checked, once.

Numbers that define metrics are dbt vars and seeds, not settings of the environment.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ingest.errors import UserError

TARGETS = ("duckdb", "postgres")
ENVIRONMENTS = ("dev", "ci", "prod")

#: Good enough to try things out; refused outside TIDEMARK_ENV=dev.
DEVELOPMENT_KEY = "64657620" * 8

#: Every variable that is read, with what it means; .env.example is held against it by a test.
VARIABLES: dict[str, str] = {
    "TIDEMARK_HOME": "folder for everything the project writes (default ./data)",
    "TIDEMARK_TARGET": "duckdb (default) or postgres",
    "TIDEMARK_POSTGRES_URL": "postgresql://user:password@host:port/database; required for postgres",
    "TIDEMARK_HASH_KEYS": "HMAC keys v1:hex,v2:hex, the last one writes; staff:hex for staff",
    "TIDEMARK_ENV": "dev (default), ci or prod; only dev may use the development key",
    "TIDEMARK_TIMEZONE": "business time zone, an IANA name (default UTC)",
    "TIDEMARK_SEEDS": "folder whose CSV files replace seeds of the same name",
    "TIDEMARK_ALERT_WEBHOOK": "address that gets a POST when an episode of alerts opens or ends",
}

#: The version under which identifiers of staff are hashed; no rotation changes it.
STAFF = "staff"

#: Set by the project itself for the programs it starts; never by a user.
INTERNAL = frozenset(
    {
        "TIDEMARK_DUCKDB_PATH", "TIDEMARK_PGHOST", "TIDEMARK_PGPORT", "TIDEMARK_PGUSER",
        "TIDEMARK_PGPASSWORD", "TIDEMARK_PGDATABASE", "TIDEMARK_PGROLE", "TIDEMARK_PG_DAGSTER_URL",
        "TIDEMARK_TEST_PROJECT", "TIDEMARK_TEST_NO_MOUNTS",
    }
)  # fmt: skip


class SettingsError(UserError):
    """A setting that cannot be used; the message says which and what to do."""


@dataclass(frozen=True)
class HashKey:
    """One HMAC key and the version written in front of its hashes."""

    version: str
    secret: bytes

    def __repr__(self) -> str:
        """Show the version only: a key must not end up in a log."""
        return f"HashKey(version={self.version!r})"

    def for_staff(self) -> HashKey:
        """Return the key of staff that follows from this key of clients, and does not lead back."""
        return HashKey(STAFF, hmac.digest(self.secret, b"tidemark staff", "sha256"))


@dataclass(frozen=True)
class Settings:
    """What the environment says, checked."""

    home: Path
    target: str
    postgres_url: str | None
    hash_keys: tuple[HashKey, ...]
    environment: str
    timezone: str
    seeds: Path | None
    alert_webhook: str | None = None
    #: The key of staff that is written out; without one it follows from the first of ``hash_keys``.
    written_staff_key: HashKey | None = None

    @property
    def warehouse_path(self) -> Path:
        """The private DuckDB file."""
        return self.home / "warehouse.duckdb"

    @property
    def published_path(self) -> Path:
        """The link that readers open; it points to the newest published DuckDB file."""
        return self.home / "published" / "tidemark.duckdb"

    @property
    def dagster_home(self) -> Path:
        """Where the Dagster instance keeps its runs and logs."""
        return self.home / "dagster"

    @property
    def dbt_target_path(self) -> Path:
        """Where dbt writes its manifest and compiled SQL, one folder per target."""
        return self.home / "dbt" / self.target

    @property
    def write_key(self) -> HashKey:
        """The key that new hashes of clients are made with."""
        return self.hash_keys[-1]

    @property
    def older_keys(self) -> tuple[HashKey, ...]:
        """Keys of clients that do not write; their hashes are linked with new ones."""
        return self.hash_keys[:-1]

    @property
    def staff_key(self) -> HashKey:
        """The key of staff, which no rotation changes."""
        return self.written_staff_key or self.hash_keys[0].for_staff()


def parse_hash_keys(text: str) -> tuple[HashKey, ...]:
    """Read ``v1:hex,v2:hex``, with ``staff:hex`` among them or not.

    Raises:
        SettingsError: a part is not ``version:hex``, a key has fewer than 16 bytes, stands twice,
            or there is none for clients.

    """
    keys = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        version, _, secret = part.partition(":")
        try:
            raw = bytes.fromhex(secret)
        except ValueError:
            raw = b""
        if not (version.isascii() and version.isalnum() and len(version) <= 32) or len(raw) < 16:
            raise SettingsError(
                "TIDEMARK_HASH_KEYS: each key is written version:hex with at least 32 hex digits, "
                "for example v1:0123456789abcdef0123456789abcdef"
            )
        keys.append(HashKey(version, raw))
    clients = [key for key in keys if key.version != STAFF]
    if not clients or len({key.version for key in keys}) != len(keys):
        raise SettingsError(
            "TIDEMARK_HASH_KEYS: give at least one key besides staff, each version once"
        )
    if len({key.secret for key in keys}) != len(keys):
        raise SettingsError(
            "TIDEMARK_HASH_KEYS: two versions have the same key; make a new one with "
            "'tidemark keys rotate --out FILE'"
        )
    return tuple(keys)


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        found = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return found and text.isascii() and text.isprintable() and " " not in text


def _is_postgres_url(text: str) -> bool:
    """Tell whether each part ends where it seems to: a password may hold what ends it."""
    address, _, path = text.partition("://")[2].partition("/")
    person, _, hosts = address.rpartition("@")
    ports = [
        host.rpartition("]")[2].partition(":")[2] for host in hosts.partition("?")[0].split(",")
    ]
    return (
        "@" not in person
        and "@" not in path.partition("?")[0]
        and all(port.isdecimal() for port in filter(None, ports))
    )


def _is_time_zone(name: str) -> bool:
    """Tell whether Python, DuckDB and Postgres all know a time zone by this name."""
    # Files beside the zones: what this machine is set to, and the zones over again.
    if name in ("localtime", "posixrules") or name.startswith(("posix/", "right/")):
        return False
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: an unknown TIDEMARK_ variable, or a value that cannot be used.

    """
    env = dict(os.environ if environ is None else environ)
    for name in env:
        if name.startswith("TIDEMARK_") and name not in VARIABLES and name not in INTERNAL:
            known = ", ".join(VARIABLES)
            raise SettingsError(f"{name} is no setting of Tidemark; the settings are {known}")
    target = env.get("TIDEMARK_TARGET") or "duckdb"
    if target not in TARGETS:
        raise SettingsError(f"TIDEMARK_TARGET is {target!r}; use one of {', '.join(TARGETS)}")
    environment = env.get("TIDEMARK_ENV") or "dev"
    if environment not in ENVIRONMENTS:
        known = ", ".join(ENVIRONMENTS)
        raise SettingsError(f"TIDEMARK_ENV is {environment!r}; use one of {known}")
    timezone = env.get("TIDEMARK_TIMEZONE") or "UTC"
    if not _is_time_zone(timezone):
        raise SettingsError(
            f"TIDEMARK_TIMEZONE is {timezone!r}; use an IANA name such as Asia/Kolkata"
        )
    url = env.get("TIDEMARK_POSTGRES_URL") or None
    if target == "postgres" and not url:
        raise SettingsError(
            "TIDEMARK_TARGET is postgres but TIDEMARK_POSTGRES_URL is not set; "
            "set it to postgresql://user:password@host:port/database"
        )
    if url and not url.startswith(("postgresql://", "postgres://")):
        raise SettingsError("TIDEMARK_POSTGRES_URL must start with postgresql://")
    if url and not _is_postgres_url(url):
        # Not shown: what is wrong is mostly a password.
        raise SettingsError(
            "TIDEMARK_POSTGRES_URL is no address of Postgres: write it as "
            "postgresql://user:password@host:port/database, and within a name or a password "
            "@ as %40, / as %2F and : as %3A"
        )
    keys = env.get("TIDEMARK_HASH_KEYS")
    if not keys and environment != "dev":
        raise SettingsError(
            f"TIDEMARK_HASH_KEYS is not set; TIDEMARK_ENV={environment} refuses the development key"
        )
    hash_keys = parse_hash_keys(keys or f"dev:{DEVELOPMENT_KEY}")
    development = HashKey("dev", bytes.fromhex(DEVELOPMENT_KEY))
    everybodys = {development.secret, development.for_staff().secret}
    if environment != "dev" and any(key.secret in everybodys for key in hash_keys):
        raise SettingsError("TIDEMARK_HASH_KEYS holds the development key; make one of your own")
    seeds = env.get("TIDEMARK_SEEDS") or None
    if seeds and not Path(seeds).is_dir():
        raise SettingsError(f"TIDEMARK_SEEDS: {seeds} is not a folder")
    webhook = env.get("TIDEMARK_ALERT_WEBHOOK") or None
    if webhook and not _is_web_address(webhook):
        # Not shown: addresses of webhooks hold secrets.
        raise SettingsError(
            "TIDEMARK_ALERT_WEBHOOK is no web address; write it as https://host/path"
        )
    home = Path(env.get("TIDEMARK_HOME") or "data").absolute()
    nearest = next(path for path in (home, *home.parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise SettingsError(f"TIDEMARK_HOME is {home}; it must be a folder, and {nearest} is none")
    return Settings(
        home=home,
        target=target,
        postgres_url=url,
        hash_keys=tuple(key for key in hash_keys if key.version != STAFF),
        environment=environment,
        timezone=timezone,
        seeds=Path(seeds).absolute() if seeds else None,
        alert_webhook=webhook,
        written_staff_key=next((key for key in hash_keys if key.version == STAFF), None),
    )
