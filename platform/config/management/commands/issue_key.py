"""Issues an API key that is the team's own: no person's rights bound it. Shown once, on stdout."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.startup import require_master_key
from core.errors import MarinaError
from tenants.access import Caller
from tenants.models import ApiKey, Tenant
from tenants.roles import Role
from tenants.services.keys import DEFAULT_DAYS, issue_key


class Command(BaseCommand):
    help = "Issue an API key of the team itself, which goes on whoever leaves the team. The log names the operator."

    def add_arguments(self, parser: CommandParser) -> None:
        """``issue_key my-team --name Deployer --scope tools:read --scope tools:execute``."""
        parser.add_argument("team", help="the team's slug")
        parser.add_argument("--name", required=True, help="who or what will use it")
        parser.add_argument("--scope", action="append", required=True, help="may be given several times")
        parser.add_argument(
            "--days", type=int, default=DEFAULT_DAYS, help=f"until it expires ({DEFAULT_DAYS})"
        )
        parser.add_argument("--network", action="append", default=[], help="where it may be used from")
        parser.add_argument("--test", action="store_true", help="a test key")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the key and nothing else."""
        require_master_key()
        team = Tenant.objects.filter(slug=options["team"]).first()
        if team is None:
            raise CommandError(f"There is no team {options['team']!r}.")
        operator = Caller(team.pk, team.slug, actor="operator", role=Role.OWNER)
        mode = ApiKey.Mode.TEST if options["test"] else ApiKey.Mode.LIVE
        try:
            issued = issue_key(
                options["name"], options["scope"], options["days"], mode, options["network"], caller=operator
            )
        except MarinaError as refusal:
            raise CommandError(refusal.message) from None
        self.stdout.write(issued.key)
