"""``manage.py import --tenant TEAM FILE``: makes a team what a file says, after showing what would change."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.operating import acting_caller
from config.startup import require_master_key
from core.errors import InvalidInput, MarinaError
from core.strictyaml import BadYaml, read_yaml
from servers.services.configuration.importing import apply_configuration, plan_configuration
from servers.services.configuration.rendering import render_plan

CHANGES: Final = 2
"""The exit code of ``--plan`` where something would change; 0 where nothing would, 1 for faults."""


class Command(BaseCommand):
    help = (
        "Make a team what a configuration file says: all of it, or nothing. Exits with 1 for faults; with --plan, "
        "with 2 where something would change and with 0 where nothing would."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """``import --tenant my-team my-team.yaml --plan``."""
        parser.add_argument("file", type=Path, help="the file; - reads stdin")
        parser.add_argument("--tenant", metavar="TEAM", required=True, help="the team's slug")
        parser.add_argument("--plan", action="store_true", help="show what would change, and change nothing")
        parser.add_argument(
            "--prune", action="store_true", help="delete what the file's sections do not name"
        )
        parser.add_argument("--yes", action="store_true", help="do not ask before changing anything")
        parser.add_argument(
            "--secrets",
            type=Path,
            metavar="FILE",
            help="settings that are not in the file: YAML, the names of data sources with their settings",
        )
        parser.add_argument("--as", dest="member", metavar="EMAIL", help="with the rights of this member")

    def handle(self, *args: Any, **options: Any) -> None:
        """Plan, ask, apply."""
        require_master_key()
        try:
            self._import(options)
        except InvalidInput as refusal:
            faults = "\n".join(f"  {each['path']}: {each['message']}" for each in refusal.errors)
            raise CommandError(_printable(f"{refusal.message}\n{faults}".rstrip())) from None
        except MarinaError as refusal:
            raise CommandError(_printable(refusal.message)) from None

    def _import(self, options: dict[str, Any]) -> None:
        caller = acting_caller(options["tenant"], options["member"])
        given = _read(options["file"])
        secrets = None if options["secrets"] is None else _secrets(_read(options["secrets"]))
        plan = plan_configuration(given, prune=options["prune"], secrets=secrets, caller=caller)
        self.stdout.write(_printable(render_plan(plan)))
        if not plan.changes:
            return
        if options["plan"]:
            sys.exit(CHANGES)
        if not options["yes"]:
            self._ask()
        done = apply_configuration(
            given, prune=options["prune"], secrets=secrets, fingerprint=plan.fingerprint, caller=caller
        )
        self.stdout.write(f"Applied: {done.summary}")

    def _ask(self) -> None:
        if not sys.stdin.isatty():
            raise CommandError("Nothing was changed: say --yes to apply this plan without being asked.")
        if input("Apply this plan? [y/N] ").strip().lower() not in {"y", "yes"}:
            raise CommandError("Nothing was changed.")


def _read(path: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as fault:
        raise CommandError(f"{path} cannot be read: {fault.strerror}.") from None


def _printable(text: str) -> str:
    """Without what would steer a terminal: names in a file are whoever's who wrote it."""
    return "".join(each for each in text if each == "\n" or each.isprintable())


def _secrets(text: bytes) -> Any:
    """What the file says. Its faults are told by line alone: their words could quote a secret."""
    try:
        return read_yaml(text).value or {}
    except BadYaml as fault:
        raise CommandError(f"--secrets: line {fault.line} is not YAML that is read here.") from None
