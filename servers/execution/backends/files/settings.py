"""The settings of a files source: what an admin may give, their limits, and where its root is. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote, urlsplit

from core.errors import InvalidInput, SourceError
from servers.execution.backends.files.paths import read_extensions
from servers.execution.folders.paths import clean_path
from servers.execution.folders.places import place_of
from servers.execution.settings import read_flag, read_number

MAX_FILE_BYTES: Final = 10 * 1024 * 1024
DEFAULT_RESULT_BYTES: Final = 1024 * 1024
MAX_RESULT_BYTES: Final = 2 * 1024 * 1024
BLOCKED: Final = (
    ".bat",
    ".cmd",
    ".com",
    ".dll",
    ".dylib",
    ".exe",
    ".jar",
    ".key",
    ".msi",
    ".p12",
    ".pem",
    ".pfx",
    ".ps1",
    ".scr",
    ".sh",
    ".so",
    ".vbs",
)

DEFAULT_REGION: Final = "us-east-1"

FORMER_ALLOW_WRITES: Final = "writable"
"""What ``allow_writes`` was called. Settings are sealed, so that no migration renames it in those that are stored: it
is read by either name, and the next save of the source stores it by the new one.
"""

SETTINGS_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "root": {
            "type": "string",
            "title": "Folder",
            "description": "A folder below your team's own on this machine, such as reports; a dot is all of it. "
            "Empty for a bucket.",
            "minLength": 1,
            "maxLength": 1_024,
        },
        "bucket": {
            "type": "string",
            "title": "Bucket",
            "description": "Instead of a folder: a bucket of S3-compatible storage.",
            "minLength": 3,
            "maxLength": 63,
        },
        "endpoint": {
            "type": "string",
            "title": "Endpoint of the storage",
            "description": "Such as https://minio.example.com:9000. Empty: Amazon's, of the region.",
            "maxLength": 300,
        },
        "region": {"type": "string", "title": "Region", "maxLength": 64, "default": DEFAULT_REGION},
        "prefix": {
            "type": "string",
            "title": "Prefix",
            "description": "Only keys below it, such as team/reports. Empty: the whole bucket.",
            "maxLength": 512,
        },
        "access_key": {
            "type": "string",
            "title": "Access key",
            "description": "Empty for a bucket that is public.",
            "maxLength": 128,
        },
        "secret_key": {
            "type": "string",
            "title": "Secret access key",
            "maxLength": 256,
            "writeOnly": True,
        },
        "allow_writes": {
            "type": "boolean",
            "title": "Tools may write",
            "description": "Brings write_file and create_directory along.",
            "default": False,
            "x-formerly": FORMER_ALLOW_WRITES,
        },
        "max_size": {
            "type": "integer",
            "title": "Largest file, bytes",
            "description": "Of larger ones only parts are read, and they are not searched.",
            "minimum": 1,
            "maximum": MAX_FILE_BYTES,
            "default": MAX_FILE_BYTES,
        },
        "max_bytes": {
            "type": "integer",
            "title": "Most bytes in one result",
            "minimum": 1_024,
            "maximum": MAX_RESULT_BYTES,
            "default": DEFAULT_RESULT_BYTES,
        },
        "blocked_extensions": {
            "type": "array",
            "title": "Blocked extensions",
            "description": "Files whose names end so are neither read, searched nor written.",
            "items": {"type": "string", "minLength": 1, "maxLength": 32},
            "maxItems": 200,
            "default": list(BLOCKED),
        },
    },
}

_PROPERTIES: Final[Mapping[str, Any]] = SETTINGS_SCHEMA["properties"]
_STORAGE: Final = ("endpoint", "region", "prefix", "access_key", "secret_key")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}")
_ACCESS_KEY: Final = re.compile(r"[!-~]{1,128}")
_SECRET_KEY: Final = re.compile(r"[!-~]{1,256}")


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is, and with which key it is asked. ``prefix`` is empty or ends with a slash."""

    name: str
    endpoint: str
    region: str
    prefix: str
    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FilesSettings:
    """Settings ready for use: a root or a bucket. Sizes in bytes."""

    root: str
    bucket: Bucket | None
    allow_writes: bool
    max_size: int
    max_bytes: int
    blocked: frozenset[str]


def read_settings(settings: Mapping[str, Any]) -> FilesSettings:
    """Parse and check everything. Raises ``InvalidInput`` with every fault at once."""
    settings = _by_new_names(settings)
    faults = [
        {"path": str(name)[:64], "message": "There is no such setting."}
        for name in settings
        if name not in _PROPERTIES
    ]
    bucket = _read_bucket(settings, faults) if settings.get("bucket") is not None else None
    root = _read_root(settings, faults) if bucket is None else "."
    allow_writes = read_flag(settings, "allow_writes", faults)
    numbers = {
        name: int(read_number(settings, name, _PROPERTIES[name], faults))
        for name in ("max_size", "max_bytes")
    }
    blocked = _read_blocked(settings.get("blocked_extensions"), faults)
    if faults:
        raise InvalidInput("The settings of the data source are not valid.", errors=faults)
    return FilesSettings(root, bucket, allow_writes, numbers["max_size"], numbers["max_bytes"], blocked)


def _by_new_names(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    if FORMER_ALLOW_WRITES not in settings or "allow_writes" in settings:
        return settings
    return {("allow_writes" if name == FORMER_ALLOW_WRITES else name): settings[name] for name in settings}


def clean_settings(settings: Mapping[str, Any], roots: Sequence[Path], *, supported: bool) -> dict[str, Any]:
    """The settings as they are stored: checked, with every default written out. Raises ``InvalidInput``."""
    checked = read_settings(settings)
    if checked.bucket is None:
        try:
            place_of(checked.root, roots, None, supported=supported)
        except SourceError as fault:
            raise InvalidInput(fault.message, errors=[{"path": "root", "message": fault.message}]) from None
    return {
        **_stored_place(checked),
        "allow_writes": checked.allow_writes,
        "max_size": checked.max_size,
        "max_bytes": checked.max_bytes,
        "blocked_extensions": sorted(checked.blocked),
    }


def _stored_place(checked: FilesSettings) -> dict[str, Any]:
    bucket = checked.bucket
    if bucket is None:
        return {"root": checked.root}
    stored = {
        "bucket": bucket.name,
        "endpoint": bucket.endpoint,
        "region": bucket.region,
        "prefix": bucket.prefix.rstrip("/"),
    }
    return {
        **stored,
        **({"access_key": bucket.access_key, "secret_key": bucket.secret_key} if bucket.access_key else {}),
    }


def uri_start(settings: FilesSettings, roots: Sequence[Path]) -> str:
    """What the URIs of a source's files begin with: paths in them are told from the team's folder, or the bucket, on.

    So two sources of one team have different URIs unless they have the same root.
    """
    bucket = settings.bucket
    if bucket is not None:
        return f"s3://{bucket.name}/{quote(bucket.prefix, safe='/-._~')}"
    root = settings.root
    if root.startswith("/"):
        base = next((base for base in roots if PurePosixPath(root).is_relative_to(base)), Path("/"))
        root = "/".join(PurePosixPath(root).relative_to(base).parts[1:]) or "."
    return "file:///" if root == "." else f"file:///{quote(root, safe='/-._~')}/"


def _read_root(settings: Mapping[str, Any], faults: list[dict[str, str]]) -> str:
    root = settings.get("root")
    faults.extend(
        {"path": name, "message": "This is of a bucket: give its name in bucket, or leave this out."}
        for name in _STORAGE
        if settings.get(name) not in (None, "", DEFAULT_REGION)
    )
    if root is None:
        message = "Give root, a folder of this machine, or bucket, of S3-compatible storage."
        faults.append({"path": "root", "message": message})
        return "."
    try:
        if isinstance(root, str) and root.startswith("/"):
            return "/" + clean_path(root[1:], "root", folder=True)
        return clean_path(root, "root", folder=True) or "."
    except InvalidInput as fault:
        faults.extend(fault.errors)
        return "."


def _read_bucket(settings: Mapping[str, Any], faults: list[dict[str, str]]) -> Bucket:
    def refuse(name: str, message: str) -> None:
        faults.append({"path": name, "message": message})

    def text(name: str, form: re.Pattern[str], message: str, default: str = "") -> str:
        value = settings.get(name)
        if value in (None, ""):
            return default
        if not isinstance(value, str) or not form.fullmatch(value):
            refuse(name, message)
            return default
        return value

    if settings.get("root") not in (None, ""):
        refuse("root", "Give either root or bucket.")
    name = text(
        "bucket", _BUCKET, "Give a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens."
    )
    if not name or ".." in name:
        refuse("bucket", "Give a bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens.")
    region = text("region", _REGION, "Give a region, such as eu-central-1.", DEFAULT_REGION)
    access_key = text("access_key", _ACCESS_KEY, "Give the access key as it was issued, without spaces.")
    secret_key = text("secret_key", _SECRET_KEY, "Give the secret key as it was issued, without spaces.")
    if bool(access_key) != bool(secret_key):
        refuse(
            "secret_key" if access_key else "access_key",
            "Give both the access key and its secret, or neither.",
        )
    prefix = ""
    try:
        prefix = clean_path(settings.get("prefix") or "", "prefix", folder=True)
    except InvalidInput as fault:
        faults.extend(fault.errors)
    endpoint = _read_endpoint(settings.get("endpoint"), region, faults)
    return Bucket(name, endpoint, region, f"{prefix}/" if prefix else "", access_key, secret_key)


def _read_endpoint(given: object, region: str, faults: list[dict[str, str]]) -> str:
    if given in (None, ""):
        return f"https://s3.{region}.amazonaws.com"
    try:
        parts = urlsplit(given.strip() if isinstance(given, str) and given.isprintable() else "")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.hostname or ""
    plain = parts.path in ("", "/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if parts.scheme not in ("http", "https") or not host.isascii() or not host or not plain or port == 0:
        message = "Give scheme, host and port only, such as https://minio.example.com:9000."
        faults.append({"path": "endpoint", "message": message})
        return ""
    named = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{named}{'' if port in (None, default) else f':{port}'}"


def _read_blocked(given: object, faults: list[dict[str, str]]) -> frozenset[str]:
    rule = _PROPERTIES["blocked_extensions"]
    if given is None:
        return frozenset(BLOCKED)
    if not isinstance(given, list | tuple) or len(given) > rule["maxItems"]:
        message = f"Give a list of at most {rule['maxItems']} extensions."
        faults.append({"path": "blocked_extensions", "message": message})
        return frozenset()
    for index, each in enumerate(given):
        if (
            not isinstance(each, str)
            or not 0 < len(each.strip(". ")) < rule["items"]["maxLength"]
            or "/" in each
        ):
            faults.append(
                {"path": f"blocked_extensions.{index}", "message": "Give an extension such as .exe."}
            )
            return frozenset()
    return read_extensions(given)
