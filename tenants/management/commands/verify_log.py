"""``manage.py verify_log TENANT``: says in words whether a tenant's log is whole. Changes nothing."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.utils import OperationalError
from psycopg_pool import PoolTimeout

from tenants.audit.chain import Broken
from tenants.audit.verification import verify_log
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Check the hash chain of a tenant's log, and name the first record that does not fit."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="the tenant's slug, as in its URLs")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["tenant"]
        try:
            tenant = Tenant.objects.filter(slug=slug).first()
        except (OperationalError, PoolTimeout):
            raise CommandError(
                "The database does not answer, or refuses the role. Check DATABASE_URL, and that MARINA_MASTER_KEY is "
                "the key that it was set up with: the roles' passwords derive from it."
            ) from None
        if tenant is None:
            raise CommandError(f"There is no tenant {slug!r}.")
        result = verify_log(tenant.pk)
        if isinstance(result, Broken):
            raise CommandError(f"The log of {slug} is broken: {result.problem}")
        if result.seq == 0:
            self.stdout.write(f"The log of {slug} is empty.")
            return
        self.stdout.write(
            f"The log of {slug} is whole: {result.seq} records, from 1 to {result.seq}. "
            f"Its head is {result.hash.hex()}."
        )
