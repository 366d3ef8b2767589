"""Reads the environment, once, into one frozen value. Nothing else in Marina reads ``os.environ``.

A bad value stops the start with a line that names the variable, what is wrong and what is expected.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from config.envparts import LongWork, Mail, Rate, SecretPlaces, Web
from config.handover import LONGEST_PATH
from core.crypto import derive_text
from core.folders import overlaps
from core.hostedcommands import HostedCommand, read_commands
from core.notetargets import FolderTarget, Target, parse_targets
from core.outbound import Network, parse_networks
from core.vaultaccess import VaultAccess, is_vault_path

REDIRECT_SCHEMES: Final = ("claude", "cursor", "vscode", "vscode-insiders", "windsurf")
"""Of MCP clients that register such an address (RFC 8252 section 7.1)."""

NO_PROGRAMS_SCHEMES: Final = frozenset(
    {
        "about",
        "blob",
        "data",
        "file",
        "filesystem",
        "ftp",
        "http",
        "https",
        "javascript",
        "vbscript",
        "ws",
        "wss",
    }
)
"""What browsers do something with themselves."""

_PREFIX: Final = re.compile(r"[A-Z][A-Z0-9_]*_")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+-]*")


class BadEnvironment(SystemExit):
    """A variable is missing or malformed. As ``SystemExit`` it ends the process with its one clear line."""


@dataclass(frozen=True, slots=True)
class Env:
    """What the environment says. See ``.env.example`` for each variable's meaning.

    Its ``repr`` leaves out the key and the URLs, which hold passwords.
    """

    home: Path
    host: str
    port: int
    base_url: str
    debug: bool
    compiled: bool
    """Whether web processes and tests run the libraries of ``config.compiled``, where they are there."""
    master_key: bytes = field(repr=False)
    readable_keys: tuple[bytes, ...] = field(repr=False)
    """Further master keys that open what was sealed under them. Nothing is sealed under these."""
    database_url: str = field(repr=False)
    app_database_url: str = field(repr=False)
    owner_database_url: str = field(repr=False)
    ops_database_url: str = field(repr=False)
    writer_database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    outbound_allow: tuple[Network, ...]
    files_roots: tuple[Path, ...]
    """Folders below which teams may have data sources of files, each team in a folder of its own."""
    hosted_commands: tuple[HostedCommand, ...]
    """What teams may have run, in a sandbox."""
    secrets: SecretPlaces
    checkpoints: tuple[Target, ...]
    """Where checkpoints of teams' logs are put, outside of the database."""
    exports_days: int
    """How long the file of a finished export is kept."""
    max_body_bytes: int
    public_body_bytes: int
    streams_per_process: int
    streams_per_team: int
    streams_per_credential: int
    requests_per_team: int
    requests_per_credential: int
    tasks: LongWork
    web: Web
    trusted_proxies: tuple[Network, ...]
    public_rate: Rate
    key_failures: Rate
    mail: Mail
    signup: str
    """Who may sign up: ``open`` (everybody, and they found teams), ``invited`` or ``closed``."""
    redirect_schemes: tuple[str, ...]
    """URL schemes of desktop programs that OAuth clients may have browsers sent to, beside those that hold a dot."""


def parse_env(environ: Mapping[str, str]) -> Env:
    """Turn variables into an ``Env``. Raises ``BadEnvironment`` with the variable's name and the mend."""
    port = _integer(environ, "PORT", default=8000, low=1, high=65535)
    host = environ.get("HOST") or "127.0.0.1"
    base_url = (environ.get("MARINA_BASE_URL") or f"http://127.0.0.1:{port}").rstrip("/")
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path or parts.query:
        raise BadEnvironment(
            f"MARINA_BASE_URL is {base_url!r}: it must be scheme and host only, like https://mcp.example.com"
        )
    master_key = _master_key(environ)
    readable_keys = tuple(
        _read_key("MARINA_READABLE_KEYS", word) for word in _words(environ, "MARINA_READABLE_KEYS")
    )
    database_url = _url(environ, "DATABASE_URL", {"postgres", "postgresql"})
    redis_url = _url(environ, "REDIS_URL", {"redis", "rediss", "unix"})

    def role_url(variable: str, role: str) -> str:
        if environ.get(variable):
            return _url(environ, variable, {"postgres", "postgresql"})
        return with_user(database_url, role, derive_text(master_key, f"database-role:{role}"))

    netloc = parts.netloc
    home = Path(environ.get("MARINA_HOME") or ".marina").resolve()
    files_roots = _folders(environ, "MARINA_FILES_ROOTS", home)
    secrets = _secrets(environ, home, files_roots)
    local_names = (
        (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}") if _is_loopback(parts.hostname) else ()
    )
    return Env(
        home=home,
        host=host,
        port=port,
        base_url=base_url,
        debug=_flag(environ, "MARINA_DEBUG"),
        compiled=wants_compiled(environ),
        master_key=master_key,
        readable_keys=readable_keys,
        database_url=database_url,
        app_database_url=role_url("DATABASE_APP_URL", "marina_app"),
        owner_database_url=role_url("DATABASE_OWNER_URL", "marina_owner"),
        ops_database_url=role_url("DATABASE_OPS_URL", "marina_ops"),
        writer_database_url=role_url("DATABASE_WRITER_URL", "marina_writer"),
        redis_url=redis_url,
        allowed_hosts=tuple(dict.fromkeys((netloc, *local_names, *_words(environ, "MARINA_ALLOWED_HOSTS")))),
        allowed_origins=tuple(dict.fromkeys((base_url, *_words(environ, "MARINA_ALLOWED_ORIGINS")))),
        outbound_allow=_networks(environ, "MARINA_OUTBOUND_ALLOW"),
        files_roots=files_roots,
        hosted_commands=_commands(
            environ, private=[home, *files_roots, *([secrets.folder] if secrets.folder else ())]
        ),
        secrets=secrets,
        checkpoints=_checkpoints(environ, files_roots),
        exports_days=_integer(environ, "MARINA_EXPORTS_DAYS", default=30, low=1, high=3650),
        max_body_bytes=_integer(
            environ, "MARINA_MAX_BODY_BYTES", default=4 * 1024 * 1024, low=1024, high=1 << 30
        ),
        public_body_bytes=_integer(
            environ, "MARINA_PUBLIC_BODY_BYTES", default=256 * 1024, low=1024, high=1 << 30
        ),
        streams_per_process=_integer(
            environ, "MARINA_STREAMS_PER_PROCESS", default=4000, low=1, high=1_000_000
        ),
        streams_per_team=_integer(environ, "MARINA_STREAMS_PER_TEAM", default=2000, low=1, high=1_000_000),
        streams_per_credential=_integer(
            environ, "MARINA_STREAMS_PER_CREDENTIAL", default=1000, low=1, high=1_000_000
        ),
        requests_per_team=_integer(environ, "MARINA_REQUESTS_PER_TEAM", default=2000, low=1, high=1_000_000),
        requests_per_credential=_integer(
            environ, "MARINA_REQUESTS_PER_CREDENTIAL", default=1000, low=1, high=1_000_000
        ),
        tasks=LongWork(
            slots=_integer(environ, "MARINA_TASK_SLOTS", default=16, low=1, high=1_000),
            per_team=_integer(environ, "MARINA_TASKS_PER_TEAM", default=8, low=1, high=10_000),
            open_per_team=_integer(
                environ, "MARINA_OPEN_TASKS_PER_TEAM", default=1_000, low=1, high=1_000_000
            ),
            ttl_seconds=_integer(environ, "MARINA_TASK_TTL_SECONDS", default=86_400, low=60, high=2_592_000),
        ),
        web=_web(environ),
        trusted_proxies=_networks(environ, "MARINA_TRUSTED_PROXIES"),
        public_rate=_rate(environ, "MARINA_PUBLIC_RATE", default="300/60"),
        key_failures=_rate(environ, "MARINA_KEY_FAILURES", default="50/300"),
        mail=_mail(environ, parts.hostname or "localhost"),
        signup=_one_of(environ, "MARINA_SIGNUP", ("invited", "open", "closed")),
        redirect_schemes=_schemes(environ, "MARINA_REDIRECT_SCHEMES", REDIRECT_SCHEMES),
    )


def wants_compiled(environ: Mapping[str, str]) -> bool:
    """``Env.compiled``, for who needs to know it before there is anything else. Raises ``BadEnvironment``."""
    return _one_of(environ, "MARINA_COMPILED", ("yes", "no")) == "yes"


@cache
def get_env() -> Env:
    """The process's environment, read on first use and kept."""
    return parse_env(os.environ)


def with_user(url: str, user: str, password: str) -> str:
    """The same database URL with another user and password."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{address}"))


def _web(environ: Mapping[str, str]) -> Web:
    return Web(
        processes=_integer(environ, "WEB_CONCURRENCY", default=1, low=1, high=256),
        max_connections=_integer(environ, "MARINA_MAX_CONNECTIONS", default=8192, low=16, high=1_000_000),
        header_seconds=_integer(environ, "MARINA_HEADER_SECONDS", default=10, low=1, high=300),
        idle_seconds=_integer(environ, "MARINA_IDLE_SECONDS", default=5, low=1, high=3600),
        write_seconds=_integer(environ, "MARINA_WRITE_SECONDS", default=30, low=1, high=3600),
        drain_seconds=_integer(environ, "MARINA_DRAIN_SECONDS", default=8, low=1, high=3600),
        heavy_socket=_socket(environ, "MARINA_HEAVY_SOCKET"),
    )


def _socket(environ: Mapping[str, str], name: str) -> str:
    path = environ.get(name, "")
    if path and (not path.startswith("/") or path.endswith("/") or len(os.fsencode(path)) > LONGEST_PATH):
        raise BadEnvironment(
            f"{name} is {path!r}: it must be an absolute path of {LONGEST_PATH} bytes at most."
        )
    return path


def _secrets(environ: Mapping[str, str], home: Path, files_roots: tuple[Path, ...]) -> SecretPlaces:
    prefix = environ.get("MARINA_SECRETS_ENV_PREFIX", "")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise BadEnvironment(
            f"MARINA_SECRETS_ENV_PREFIX is {prefix!r}: it must be of capitals, digits and underscores, and end with an "
            "underscore, like TEAM_SECRET_"
        )
    folders = _folders(environ, "MARINA_SECRETS_DIR", home)
    if len(folders) > 1:
        raise BadEnvironment("MARINA_SECRETS_DIR names several folders: write one absolute path.")
    for folder in folders:
        if overlaps(folder, files_roots):
            raise BadEnvironment(
                "MARINA_SECRETS_DIR lies in a folder of MARINA_FILES_ROOTS, or one in it: teams would read it there."
            )
    return SecretPlaces(
        prefix=prefix,
        variables={name: value for name, value in environ.items() if prefix and name.startswith(prefix)},
        folder=folders[0] if folders else None,
        vault=_vault(environ),
        seconds=_integer(environ, "MARINA_SECRETS_SECONDS", default=60, low=10, high=3600),
        stale_seconds=_integer(environ, "MARINA_SECRETS_STALE_SECONDS", default=3600, low=0, high=604_800),
    )


def _commands(environ: Mapping[str, str], *, private: Sequence[Path]) -> tuple[HostedCommand, ...]:
    name = environ.get("MARINA_HOSTED_COMMANDS", "").strip()
    if not name:
        return ()
    if not Path(name).is_absolute():
        raise BadEnvironment(f"MARINA_HOSTED_COMMANDS is {name!r}: write the absolute path of a file.")
    try:
        return read_commands(Path(name), private=private)
    except ValueError as fault:
        raise BadEnvironment(f"MARINA_HOSTED_COMMANDS: {fault}.") from None


def _checkpoints(environ: Mapping[str, str], files_roots: tuple[Path, ...]) -> tuple[Target, ...]:
    try:
        targets = parse_targets(
            environ.get("MARINA_CHECKPOINTS", "").split(),
            access_key=environ.get("MARINA_CHECKPOINTS_ACCESS_KEY", "").strip(),
            secret_key=environ.get("MARINA_CHECKPOINTS_SECRET_KEY", "").strip(),
        )
    except ValueError as fault:
        raise BadEnvironment(f"MARINA_CHECKPOINTS: {fault}.") from None
    for target in targets:
        if isinstance(target, FolderTarget) and overlaps(target.folder, files_roots):
            raise BadEnvironment(
                "MARINA_CHECKPOINTS names a folder in MARINA_FILES_ROOTS, where teams may write."
            )
    return targets


def _vault(environ: Mapping[str, str]) -> VaultAccess | None:
    url = (environ.get("MARINA_VAULT_URL") or "").rstrip("/")
    token = environ.get("MARINA_VAULT_TOKEN", "").strip()
    role_id = environ.get("MARINA_VAULT_ROLE_ID", "").strip()
    secret_id = environ.get("MARINA_VAULT_SECRET_ID", "").strip()
    paths = {
        "MARINA_VAULT_MOUNT": environ.get("MARINA_VAULT_MOUNT") or "secret",
        "MARINA_VAULT_PATH": environ.get("MARINA_VAULT_PATH") or "marina",
        "MARINA_VAULT_ROLE_MOUNT": environ.get("MARINA_VAULT_ROLE_MOUNT") or "approle",
    }
    namespace = environ.get("MARINA_VAULT_NAMESPACE", "")
    if not url:
        if token or role_id or secret_id:
            raise BadEnvironment("MARINA_VAULT_URL is not set, and what signs Marina in there is.")
        return None
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
        raise BadEnvironment("MARINA_VAULT_URL must be an address like https://vault.example.com:8200")
    if bool(token) == bool(role_id and secret_id) or bool(role_id) != bool(secret_id):
        raise BadEnvironment(
            "MARINA_VAULT_URL is set: give MARINA_VAULT_TOKEN, or MARINA_VAULT_ROLE_ID and MARINA_VAULT_SECRET_ID."
        )
    if not all(each.isascii() and each.isprintable() for each in (token, role_id, secret_id)):
        raise BadEnvironment("MARINA_VAULT_TOKEN, _ROLE_ID and _SECRET_ID have plain characters only.")
    for name, path in {**paths, "MARINA_VAULT_NAMESPACE": namespace}.items():
        if path and not is_vault_path(path):
            raise BadEnvironment(
                f"{name} is {path!r}: it must be names with slashes between them, like kv/teams"
            )
    return VaultAccess(
        url=url,
        mount=paths["MARINA_VAULT_MOUNT"],
        path=paths["MARINA_VAULT_PATH"],
        namespace=namespace,
        token=token,
        role_id=role_id,
        secret_id=secret_id,
        role_mount=paths["MARINA_VAULT_ROLE_MOUNT"],
    )


_MAIL_SCHEMES = {"smtp": ("starttls", 587), "smtps": ("implicit", 465), "smtp+plain": ("", 25)}


def _mail(environ: Mapping[str, str], host: str) -> Mail:
    sender = environ.get("EMAIL_FROM") or f"Marina <marina@{host}>"
    if "@" not in sender or not sender.isprintable():
        raise BadEnvironment(
            f"EMAIL_FROM is {sender!r}: it must hold an address, like Marina <marina@example.com>"
        )
    parts = urlsplit(environ.get("EMAIL_URL") or "console:")
    if parts.scheme == "console":
        return Mail(sender)
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        return Mail(sender, folder=unquote(parts.path))
    tls, port = _MAIL_SCHEMES.get(parts.scheme, ("", 0))
    try:
        port = parts.port or port
    except ValueError:
        port = 0
    if not (port and parts.hostname):  # without the value: it holds a password
        raise BadEnvironment(
            "EMAIL_URL must be smtp://user:password@host:587 (STARTTLS), smtps://user:password@host:465, "
            "smtp+plain://host:25 (in the clear), file:///folder or console:"
        )
    return Mail(
        sender,
        host=parts.hostname,
        port=port,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        tls=tls,
    )


def _rate(environ: Mapping[str, str], name: str, *, default: str) -> Rate:
    text = environ.get(name) or default
    requests, _, seconds = text.partition("/")
    if not all(part.isascii() and part.isdecimal() and int(part[:8]) >= 1 for part in (requests, seconds)):
        raise BadEnvironment(f"{name} is {text!r}: it must be requests/seconds, like 300/60.")
    rate = Rate(int(requests), int(seconds))
    if rate.requests > 1_000_000 or rate.seconds > 86_400:
        raise BadEnvironment(f"{name} is {text!r}: at most 1000000 requests, and at most 86400 seconds.")
    return rate


def _master_key(environ: Mapping[str, str]) -> bytes:
    text = environ.get("MARINA_MASTER_KEY", "")
    if not text:
        raise BadEnvironment(
            "MARINA_MASTER_KEY is not set: it seals every stored credential. `make run` makes one for you; "
            "elsewhere set 32 random bytes as base64url: "
            "python3 -c 'import base64,secrets; print(base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())'"
        )
    return _read_key("MARINA_MASTER_KEY", text)


def _read_key(name: str, text: str) -> bytes:
    try:
        key = base64.b64decode(
            text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True
        )
    except binascii.Error:
        raise BadEnvironment(f"{name} is not base64url: give 32 bytes encoded as base64url.") from None
    if len(key) != 32:
        raise BadEnvironment(f"{name} holds {len(key)} bytes: it must be exactly 32, as base64url.")
    return key


def _url(environ: Mapping[str, str], name: str, schemes: set[str]) -> str:
    value = environ.get(name, "")
    wanted = " or ".join(f"{scheme}://" for scheme in sorted(schemes))
    if not value:
        raise BadEnvironment(f"{name} is not set: give a URL that starts with {wanted}")
    if urlsplit(value).scheme not in schemes:
        raise BadEnvironment(f"{name} must start with {wanted}")
    return value


def _integer(environ: Mapping[str, str], name: str, *, default: int, low: int, high: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise BadEnvironment(f"{name} is {text!r}: it must be a whole number from {low} to {high}.") from None
    if not low <= value <= high:
        raise BadEnvironment(f"{name} is {value}: it must be from {low} to {high}.")
    return value


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").lower()
    if text in {"", "0", "false", "no"}:
        return False
    if text in {"1", "true", "yes"}:
        return True
    raise BadEnvironment(f"{name} is {text!r}: it must be 1 or 0.")


def _one_of(environ: Mapping[str, str], name: str, known: tuple[str, ...]) -> str:
    """The first of ``known`` where it is not set."""
    value = environ.get(name) or known[0]
    if value not in known:
        raise BadEnvironment(f"{name} is {value!r}: it must be one of {', '.join(known)}.")
    return value


def _words(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(environ.get(name, "").replace(",", " ").split())


def _schemes(environ: Mapping[str, str], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    schemes = default if environ.get(name) is None else _words(environ, name)
    for scheme in schemes:
        if not _SCHEME.fullmatch(scheme) or scheme in NO_PROGRAMS_SCHEMES:
            raise BadEnvironment(
                f"{name} holds {scheme!r}: write names of programs' own URL schemes, such as cursor, without ://"
            )
    return schemes


def _networks(environ: Mapping[str, str], name: str) -> tuple[Network, ...]:
    try:
        return parse_networks(_words(environ, name))
    except ValueError as fault:
        raise BadEnvironment(f"{name}: {fault}.") from None


def _folders(environ: Mapping[str, str], name: str, home: Path) -> tuple[Path, ...]:
    """Absolute paths, a colon between them. None lies in another, where one team's folder would hold another's."""
    folders = tuple(Path(word) for word in environ.get(name, "").split(":") if word.strip())
    for place, folder in enumerate(folders):
        if not folder.is_absolute() or ".." in folder.parts:
            raise BadEnvironment(f"{name} holds {str(folder)!r}: write absolute paths, a colon between them.")
        if home.is_relative_to(folder.resolve()):
            raise BadEnvironment(
                f"{name} holds {str(folder)!r}: MARINA_HOME lies in it, and must not be offered."
            )
        if overlaps(folder, folders[:place]):
            raise BadEnvironment(
                f"{name} holds {str(folder)!r}: it lies in another of its folders, or one in it."
            )
    return folders


def _is_loopback(host: str | None) -> bool:
    return host in {"127.0.0.1", "localhost", "::1"}
