"""Founds a team with its owner. (Sign-up by people themselves is not offered.)"""

from __future__ import annotations

import getpass
import sys
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.db import transaction

from config.startup import require_master_key
from core.errors import MarinaError
from servers.services.onboarding import found_tenant
from tenants.models import User


class Command(BaseCommand):
    help = "Make a team and its owner. A person without an account gets one; the password is asked for."

    def add_arguments(self, parser: CommandParser) -> None:
        """``create_team my-team --name 'My team' --owner ada@example.com``."""
        parser.add_argument("slug", help="the team's part of every URL: lower-case letters, digits, hyphens")
        parser.add_argument("--name", required=True, help="what people call the team")
        parser.add_argument("--owner", required=True, help="the owner's e-mail address")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make both or neither."""
        require_master_key()
        email = options["owner"].strip().lower()
        try:
            validate_email(email)
        except ValidationError:
            raise CommandError(f"--owner: {email!r} is not an e-mail address.") from None
        try:
            with transaction.atomic():
                owner = User.objects.filter(email=email).first() or self._create(email)
                team = found_tenant(options["slug"], options["name"], owner.pk)
        except MarinaError as refusal:
            raise CommandError(refusal.message) from None
        self.stdout.write(f"The team {team.name} is at /app/{team.slug}/; {email} owns it.")

    def _create(self, email: str) -> User:
        if not sys.stdin.isatty():
            raise CommandError(
                f"{email} has no account yet, and their password is asked for on a terminal. Run this on one."
            )
        password = getpass.getpass(f"Password for {email}: ")
        try:
            validate_password(password, User(email=email))
        except ValidationError as fault:
            raise CommandError(" ".join(fault.messages)) from None
        return User.objects.create_user(email, password)
