"""``manage.py export --tenant TEAM``: a team's configuration as a file, without secrets. Changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.operating import acting_caller
from config.startup import require_master_key
from core.errors import MarinaError
from servers.services.configuration.exporting import export_configuration
from servers.services.configuration.form import SCHEMA


class Command(BaseCommand):
    help = "Write a team's configuration as YAML, without secrets: always the same bytes for the same team."

    def add_arguments(self, parser: CommandParser) -> None:
        """``export --tenant my-team -o my-team.yaml``, or ``export --schema``."""
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--tenant", metavar="TEAM", help="the team's slug")
        what.add_argument("--schema", action="store_true", help="the JSON Schema of the file, instead")
        parser.add_argument(
            "-o", "--output", type=Path, help="the file to write; stdout where it is left out"
        )
        parser.add_argument("--as", dest="member", metavar="EMAIL", help="with the rights of this member")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the text and nothing else."""
        if options["schema"]:
            text = json.dumps(SCHEMA, indent=2) + "\n"
        else:
            require_master_key()
            try:
                text = export_configuration(caller=acting_caller(options["tenant"], options["member"]))
            except MarinaError as refusal:
                raise CommandError(refusal.message) from None
        if options["output"] is None:
            self.stdout.write(text, ending="")
        else:
            options["output"].write_text(text, encoding="utf-8")
