"""Reads what teams' secrets are where the operator keeps them: variables, files, Vault. Stores and logs nothing.

Where a secret lies follows from its team and its name alone, and from a path below the team's own folder in Vault: no
team can name another's, and nobody can name a variable or a file that is not meant for this.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from core.loop import run_async
from core.vault import Vault, VaultFault
from core.vaultaccess import VaultAccess
from servers.execution.folders.beneath import closing, is_supported, open_file, open_folder
from servers.models import Secret

MAX_VALUE_BYTES: Final = 64 * 1024
DEFAULT_KEY: Final = "value"
"""The key of a secret in Vault that holds the text, where none is named."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Away:
    """Why nothing was read: a sentence without the full stop, safe to show to the team's admins.

    ``final``: the place was asked and has none, so that a copy is of no use any more.
    """

    reason: str
    final: bool


def fault_of_value(value: str) -> str:
    """What is wrong with a value whatever it is for; empty: nothing. Never holds any of it."""
    if not value.strip():
        return "is empty"
    if "\x00" in value:
        return "holds the character U+0000, which no credential has"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "holds half a character, which has no bytes"
    return f"is {size} bytes long; at most {MAX_VALUE_BYTES} are allowed" if size > MAX_VALUE_BYTES else ""


def origins_here() -> list[str]:
    """Where secrets may come from in this installation."""
    places = settings.ENV.secrets
    offered = {
        Secret.Origin.ENVIRONMENT: places.prefix,
        Secret.Origin.FILE: places.folder,
        Secret.Origin.VAULT: places.vault,
    }
    return [Secret.Origin.STORED.value, *(origin.value for origin, there in offered.items() if there)]


def place_of(team: str, row: Secret) -> str:
    """Where a secret is read, in words for those who put it there; empty for one that Marina stores."""
    places = settings.ENV.secrets
    if row.origin == Secret.Origin.ENVIRONMENT:
        return _variable(places.prefix or "<MARINA_SECRETS_ENV_PREFIX>", team, row.name)
    if row.origin == Secret.Origin.FILE:
        return f"{team}/{row.name} in MARINA_SECRETS_DIR"
    if row.origin == Secret.Origin.VAULT:
        key = row.place.get("key", DEFAULT_KEY)
        return f"{key} of {_vault_path(places.vault or VaultAccess(''), team, row)}"
    return ""


def read_secrets(team: str, rows: Sequence[Secret]) -> list[Found | Away]:
    """What each of a team's secrets is now, in order. Asks Vault once for all; outside of any transaction."""
    asked = [row for row in rows if row.origin == Secret.Origin.VAULT]
    answers = dict(zip([row.pk for row in asked], _read_vault(team, asked), strict=True))
    return [_checked(answers[row.pk] if row.pk in answers else _read_here(team, row)) for row in rows]


def _read_here(team: str, row: Secret) -> Found | Away:
    if row.origin == Secret.Origin.ENVIRONMENT:
        return _read_variable(team, row.name)
    if row.origin == Secret.Origin.FILE:
        return _read_file(team, row.name)
    raise AssertionError("a stored secret is read nowhere")


def _checked(found: Found | Away) -> Found | Away:
    fault = fault_of_value(found.value) if isinstance(found, Found) else ""
    return Away(f"What is there {fault}", final=False) if fault else found


def _variable(prefix: str, team: str, name: str) -> str:
    """The two underscores are the last ones of the variable: names of secrets hold no two hyphens in a row."""
    return f"{prefix}{team}__{name}".replace("-", "_").upper()


def _read_variable(team: str, name: str) -> Found | Away:
    places = settings.ENV.secrets
    if not places.prefix:
        return Away(
            "Secrets of the environment are switched off here (MARINA_SECRETS_ENV_PREFIX)", final=True
        )
    variable = _variable(places.prefix, team, name)
    value = places.variables.get(variable)
    return Away(f"There is no variable {variable}", final=True) if value is None else Found(value)


def _read_file(team: str, name: str) -> Found | Away:
    folder: Path | None = settings.ENV.secrets.folder
    if folder is None:
        return Away("Secrets of files are switched off here (MARINA_SECRETS_DIR)", final=True)
    if not is_supported():
        return Away("Secrets of files need Linux 5.6 or later (openat2)", final=False)
    try:
        with closing(os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            read = _read_beneath(root, team, name)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return Away(f"There is no file {team}/{name} in MARINA_SECRETS_DIR", final=True)
        if error.errno in {errno.ELOOP, errno.EXDEV, errno.EINVAL}:
            return Away(
                f"{team}/{name} is no plain file of the team's own folder, or a link out of it", final=True
            )
        return Away(f"The file {team}/{name} cannot be read by Marina", final=False)
    try:
        text = read.decode()
    except UnicodeDecodeError:
        return Away(f"The file {team}/{name} is no text in UTF-8", final=False)
    # Editors, and `echo`, end a file with a line break that is none of the secret's.
    return Found(text.removesuffix("\n").removesuffix("\r"))


def _read_beneath(root: int, team: str, name: str) -> bytes:
    with (
        closing(open_folder(root, team, mounted=True)) as base,
        closing(open_file(base, name, links=True)) as descriptor,
    ):
        return _read_whole(descriptor)


def _read_whole(descriptor: int) -> bytes:
    pieces, left = [], MAX_VALUE_BYTES + 16
    while left > 0 and (piece := os.read(descriptor, left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _read_vault(team: str, rows: Sequence[Secret]) -> list[Found | Away]:
    access: VaultAccess | None = settings.ENV.secrets.vault
    if access is None:
        return [Away("Vault is not set up here (MARINA_VAULT_URL)", final=True) for _ in rows]
    if not rows:
        return []
    paths = [_vault_path(access, team, row, within=True) for row in rows]
    return [
        _picked(each, row.place.get("key", DEFAULT_KEY))
        for row, each in zip(rows, run_async(_vault(access).read(paths)), strict=True)
    ]


def _picked(found: Mapping[str, Any] | VaultFault, key: str) -> Found | Away:
    if isinstance(found, VaultFault):
        return Away(str(found), final=found.final)
    if key not in found:
        return Away(f"Vault has no key {key} there", final=True)
    value = found[key]
    return Found(value) if isinstance(value, str) else Away(f"Vault's key {key} is no text", final=False)


def _vault_path(access: VaultAccess, team: str, row: Secret, *, within: bool = False) -> str:
    path = f"{access.path}/{team}/{row.place.get('path', row.name)}"
    return path if within else f"{access.mount}/{path}"


@cache
def _vault(access: VaultAccess) -> Vault:
    """One a process, for its token. Its connections end with each reading."""
    return Vault(access)
