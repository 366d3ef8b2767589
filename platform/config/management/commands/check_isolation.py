"""``manage.py check_isolation``: asks a running Marina, as one team, for everything of another. Changes nothing."""

from __future__ import annotations

import argparse
import re
from typing import Any

import httpx2
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.isolation.attempts import covered_routes, make_attempts
from config.isolation.checking import Finding, begin_session, check
from config.isolation.teams import PAIR, checked_teams, slugs_of
from config.startup import require_master_key
from tenants.models import SLUG_PATTERN


def _pair(name: str) -> str:
    if not all(re.fullmatch(SLUG_PATTERN, slug) for slug in slugs_of(name)):
        raise argparse.ArgumentTypeError(
            f"{name!r} begins no team's name: use up to 33 lower-case letters, digits and hyphens."
        )
    return name


class Command(BaseCommand):
    help = (
        "Try every route, page and MCP method of a running Marina with one team's credentials and another's ids. "
        f"It makes two teams for that, {' and '.join(slugs_of())}, and uses them again the next time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """``check_isolation --url http://127.0.0.1:8000``."""
        parser.add_argument(
            "--url", default=settings.ENV.base_url, help="where Marina runs (default: %(default)s)"
        )
        parser.add_argument(
            "--teams",
            metavar="NAME",
            default=PAIR,
            type=_pair,
            help="check with the teams NAME-asking and NAME-other (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Report, and fail where something was found."""
        require_master_key()

        def tell(finding: Finding) -> None:
            self.stderr.write(f"{finding}\n")

        try:
            with checked_teams(options["teams"]) as (asking, other):
                session = begin_session(options["url"], other)
                report = check(options["url"], make_attempts(asking, other, session), tell=tell)
        except httpx2.HTTPError as fault:
            raise CommandError(
                f"Marina does not answer at {options['url']} ({type(fault).__name__}). Start it, or name its address "
                "with --url."
            ) from None
        routes = len(covered_routes())
        if report.findings:
            raise CommandError(
                f"{len(report.findings)} of {report.attempts} attempts got what they must not (above). Close the "
                "installation to its users until that is mended. Then check with teams of another name (--teams): what "
                "got across stays in the logs of these."
            )
        self.stdout.write(
            f"Nothing crosses: {report.attempts} attempts at {routes} routes and all MCP methods, none got anything."
        )
