"""The examples of docs/secrets.md, run as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from core.vaultaccess import VaultAccess
from tests.factories import Team
from tests.farside import FarSide
from tests.plugins.vault import VaultServer
from tests.rest import Rest
from tests.servers.named_secrets.desk import VALUE, secrets_url, value_of

PAGE = (Path(__file__).parents[3] / "docs" / "secrets.md").read_text(encoding="utf-8")
SENT = [
    (path, json.loads(body))
    for path, body in re.findall(r"api -X POST \$MARINA/api/v1/tenants/\w+/(\S+) -d '(.*?)'", PAGE, re.DOTALL)
]


def test_the_examples_of_the_page_work_as_they_stand(
    team: Team, rest: Rest, api: FarSide, vault: VaultServer, places: Any
) -> None:
    places(vault=VaultAccess(vault.url, token=vault.make_token("marina/")))
    vault.write(f"marina/{team.slug}/billing/stripe", live=VALUE)
    (_, secret), (_, source), (_, of_vault) = SENT
    assert [path for path, _ in SENT] == ["secrets", "data-sources", "secrets"]
    assert rest.post(secrets_url(team), secret | {"value": VALUE}).status == 201
    # The one thing that is another here: where the API is.
    source["settings"]["base_url"] = api.origin
    made = rest.post(f"/tenants/{team.slug}/data-sources", source)
    assert (made.status, made.body["settings"]["token"]) == (201, {"secret": "stripe-key"})
    assert rest.post(secrets_url(team), of_vault | {"name": "of-vault"}).status == 201
    assert value_of(team, "of-vault") == VALUE
