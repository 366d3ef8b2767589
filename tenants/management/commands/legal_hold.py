"""``manage.py legal_hold TENANT``: the operator places or lifts a hold on a team's log. The team's log says so."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.errors import MarinaError
from tenants.access import Caller
from tenants.models import Tenant
from tenants.roles import Role
from tenants.services.retention import lift_hold, place_hold, read_keeping


class Command(BaseCommand):
    help = "Keep a team's records from being removed: list legal holds, place one, or lift one."

    def add_arguments(self, parser: CommandParser) -> None:
        """Without ``--place`` and ``--lift`` the holds are listed."""
        parser.add_argument("tenant", help="the tenant's slug, as in its URLs")
        parser.add_argument("--place", metavar="REASON", help="place a hold, for this reason")
        parser.add_argument(
            "--from", dest="from_at", type=_moment, metavar="TIME", help="of records from then on"
        )
        parser.add_argument("--to", dest="to_at", type=_moment, metavar="TIME", help="of records before then")
        parser.add_argument("--lift", type=UUID, metavar="ID", help="lift this hold")
        parser.add_argument("--as", dest="who", default="operator", help="who you are, for the team's log")

    def handle(self, *args: Any, **options: Any) -> None:
        """Exits with 1 where it cannot be."""
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']!r}.")
        # What an owner may: the operator of the installation stands beside them here.
        caller = Caller(tenant.pk, tenant.slug, actor=f"operator:{options['who']}", role=Role.OWNER)
        try:
            if options["place"]:
                hold = place_hold(options["place"], options["from_at"], options["to_at"], caller=caller)
                self.stdout.write(f"The hold {hold.id} stands.")
            elif options["lift"]:
                lift_hold(options["lift"], caller=caller)
                self.stdout.write("The hold is lifted.")
            else:
                for hold in read_keeping(caller=caller).standing:
                    self.stdout.write(f"{hold.id} {hold.placed_by}: {hold.reason}")
        except MarinaError as error:
            raise CommandError(error.message) from None


def _moment(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
