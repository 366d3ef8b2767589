"""``manage.py rotate_log_key``: another key signs the log's checkpoints from now on. Former ones stay published."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError

from tenants.services.log_keys import KeysDoNotOpen, public_keys, rotate_log_key


class Command(BaseCommand):
    help = "Make a new key that signs the checkpoints of all logs. The former one vouches for it and stays published."

    def handle(self, *args: Any, **options: Any) -> None:
        """Say which key signs now. Exits with 1 where the present one does not open."""
        try:
            number = rotate_log_key()
        except KeysDoNotOpen:
            raise CommandError(
                "No key of the log opens with MARINA_MASTER_KEY or MARINA_READABLE_KEYS, so none can vouch for "
                "another. Name the master key that sealed them in MARINA_READABLE_KEYS."
            ) from None
        except IntegrityError:
            raise CommandError(
                "Another key was made at the same moment. Run this again if you want one more."
            ) from None
        key = next(key for key in public_keys() if key["number"] == number)
        self.stdout.write(f"Checkpoints are signed with key {number} from now on: {key['vkey']}")
