"""Makes the teams of the bench of long work, or fills one's line. Run by the bench only.

``python -m tests.bench.long_prepare teams`` prints ``{"keys": …}`` by team as its last line;
``… fill TEAM COUNT SECONDS`` has a team's tasks wait, without their calls.
"""

from __future__ import annotations

import json
import secrets
import sys
from uuid import uuid4

import django

django.setup()

from servers.services.onboarding import found_tenant
from servers.services.principals import identity_of
from servers.services.sources import create_source
from servers.services.tasks.payload import Answers, Work
from servers.services.tasks.plans import Long
from servers.services.tasks.rows import create_task
from tenants.access import caller_for_user
from tenants.models import User
from tenants.services.keys import issue_key
from tests.bench.long_kind import KIND, add_long_kind
from tests.bench.offered import LONG_TEAMS, STAMP


def make_teams() -> None:
    """Each with the tools of the bench's kind and a key."""
    add_long_kind()
    user = User.objects.create_user(f"long-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(12))
    keys = {}
    for slug in LONG_TEAMS:
        found_tenant(slug, slug, user.pk)
        owner = caller_for_user(user.pk, user.email, slug)
        create_source("long", KIND, {}, caller=owner)
        keys[slug] = issue_key("bench", ["tools:read", "tools:execute"], expires_in_days=1, caller=owner).key
    print(json.dumps({"keys": keys}))


def fill(slug: str, count: int, seconds: float) -> None:
    """Tasks that wait for a worker, as many calls would have left them."""
    user = User.objects.get(email__startswith="long-")
    owner = caller_for_user(user.pk, user.email, slug)
    for _ in range(count):
        work = Work(owner, "default", STAMP, 1, {"seconds": seconds}, "bench", "", None, {}, None)
        create_task(
            work,
            task_id=uuid4(),
            principal=identity_of(owner),
            long=Long(seconds=60.0, repeatable=True),
            intent_seq=1_000_000_000,
            answers=Answers(),
        )


if __name__ == "__main__":
    if sys.argv[1] == "teams":
        make_teams()
    else:
        fill(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
