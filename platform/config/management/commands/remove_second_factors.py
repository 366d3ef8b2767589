"""Removes a person's second factors, for who has lost them all. Whether it is them who asks, the operator must know."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.startup import require_master_key
from tenants.models import User
from tenants.services.factors import remove_all_factors


class Command(BaseCommand):
    help = (
        "Remove somebody's second factors, so that their password alone signs them in. A letter tells them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """``remove_second_factors ada@example.com``."""
        parser.add_argument("email", help="the account's address")

    def handle(self, *args: Any, **options: Any) -> None:
        """Say how many there were."""
        require_master_key()
        user = User.objects.filter(email=options["email"].strip().lower()).first()
        if user is None:
            raise CommandError(f"There is no account {options['email']!r}.")
        count = remove_all_factors(user)
        self.stdout.write(
            f"Removed {count} second factor{'' if count == 1 else 's'} of {user.email}, and signed them out everywhere."
            if count
            else f"{user.email} has no second factor."
        )
