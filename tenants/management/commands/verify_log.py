"""``manage.py verify_log TENANT``: says in words whether a tenant's log is whole. Changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.utils import OperationalError
from psycopg_pool import PoolTimeout

from tenants.audit.checking import check_log
from tenants.audit.notes import NotANote, split_notes
from tenants.models import Tenant
from tenants.services.log_keys import KeysDoNotOpen, open_keys


class Command(BaseCommand):
    help = (
        "Check the hash chain of a tenant's log and hold it against its checkpoints; name the first record that does "
        "not fit."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """``--checkpoints`` are those that were published, as they lie elsewhere."""
        parser.add_argument("tenant", help="the tenant's slug, as in its URLs")
        parser.add_argument(
            "--checkpoints",
            type=Path,
            metavar="FILE_OR_FOLDER",
            help="published checkpoints to hold the log against, besides the stored ones",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Exits with 1 where something does not fit."""
        slug = options["tenant"]
        published = [] if options["checkpoints"] is None else _read_published(options["checkpoints"])
        try:
            tenant = Tenant.objects.filter(slug=slug).first()
        except (OperationalError, PoolTimeout):
            raise CommandError(
                "The database does not answer, or refuses the role. Check DATABASE_URL, and that MARINA_MASTER_KEY is "
                "the key that it was set up with: the roles' passwords derive from it."
            ) from None
        if tenant is None:
            raise CommandError(f"There is no tenant {slug!r}.")
        try:
            keys = open_keys().public
        except KeysDoNotOpen:
            raise CommandError(
                "None of the keys that signed the checkpoints opens with MARINA_MASTER_KEY or MARINA_READABLE_KEYS."
            ) from None
        verdict = check_log(tenant.pk, public_keys=keys, published=published)
        if verdict.problems:
            problems = "\n  ".join(verdict.problems)
            raise CommandError(f"The log of {slug} is broken: {problems}")
        seq = verdict.head.seq
        if seq == 0:
            self.stdout.write(f"The log of {slug} is empty.")
        else:
            self.stdout.write(
                f"The log of {slug} is whole: {verdict.records}. Its head is {verdict.head.hash.hex()}."
            )
        if verdict.newest_at is None:
            return
        self.stdout.write(
            f"Stored checkpoints that fit: {verdict.checkpoints}. "
            f"The newest statement is of {verdict.newest_at:%Y-%m-%d %H:%M:%S} UTC."
        )
        if published:
            self.stdout.write(f"Published notes that fit: {verdict.published}.")


def _read_published(place: Path) -> list[bytes]:
    """The notes of a file, or of all files of a folder and below it."""
    try:
        files = sorted(each for each in place.rglob("*") if each.is_file()) if place.is_dir() else [place]
        notes = [note for each in files for note in split_notes(each.read_bytes())]
    except OSError:
        raise CommandError(f"{place} cannot be read.") from None
    except NotANote as fault:
        raise CommandError(f"A file of {place} does not hold checkpoints: {fault}.") from None
    if not notes:
        raise CommandError(f"There is no checkpoint in {place}.")
    return notes
