"""Brings everything that is sealed under the newest master key, so that a former one can be given up."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.resealing import reseal_check, reseal_rows
from config.startup import require_master_key


class Command(BaseCommand):
    help = (
        "Seal everything that is sealed under MARINA_MASTER_KEY that still is under one of MARINA_READABLE_KEYS. "
        "Safe to stop and to run again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """``--check``: change nothing."""
        parser.add_argument(
            "--check", action="store_true", help="only say whether a former key is still needed"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Say what was sealed anew, kind by kind. Exits with 1 where a former key is needed still."""
        require_master_key()
        write = not options["check"]
        former, unreadable = 0, 0
        for found in reseal_rows(write=write):
            former += found.former
            unreadable += len(found.unreadable)
            place = found.kind if found.tenant_id is None else f"{found.kind} of team {found.tenant_id}"
            if found.former:
                self.stdout.write(
                    f"{place}: {found.former} {'sealed anew' if write else 'under a former key'}"
                )
            for pk in found.unreadable:
                self.stderr.write(f"{place}: {pk} opens under none of the keys")
        if unreadable:
            raise CommandError(
                f"{unreadable} values open under none of the keys at hand. Name the key that sealed them in "
                "MARINA_READABLE_KEYS and run this again, or enter them again."
            )
        # The last of all: a run that is cut off leaves the former key needed.
        check = reseal_check(write=write)
        if not write and (former or check):
            raise CommandError("A former master key is still needed: run this without --check.")
        self.stdout.write("Everything is sealed under MARINA_MASTER_KEY. No former key is needed any more.")
