"""No address of the corpus is connected to: at a server on loopback, nobody knocks."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from core.outbound import AddressRule, parse_networks
from core.outbound_http import OutboundClient, OutboundRefused
from tests.corpora.addresses import ANSWERS, CASES, REDIRECTS, Case
from tests.corpora.quiet import Quiet, resolver
from tests.farside import far_side, reply

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def quiet() -> Iterator[Quiet]:
    server = Quiet()
    yield server
    server.close()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names resolve as the corpus says."""
    monkeypatch.setattr(socket, "getaddrinfo", resolver())


def test_the_corpus_has_more_than_fifty_cases_and_all_differ() -> None:
    assert len(CASES) == len({case.url for case in CASES}) >= 50
    assert len(REDIRECTS) == len(set(REDIRECTS))


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case.url)[:60])
async def test_nothing_is_connected_to(case: Case, quiet: Quiet) -> None:
    client = OutboundClient(allow=AddressRule().allows)
    with pytest.raises(OutboundRefused) as caught:
        await client.send("GET", case.url.format(port=quiet.port), seconds=60, most_bytes=1_000)
    await client.close()
    assert (caught.value.reason, caught.value.unsent) == (case.reason, True)
    assert quiet.connections == 0


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("redirect", REDIRECTS, ids=str)
async def test_no_redirect_is_followed(redirect: tuple[int, str], quiet: Quiet) -> None:
    status, to = redirect
    client = OutboundClient(allow=AddressRule(parse_networks(["127.0.0.0/8"])).allows)
    headers = {"Location": to.format(port=quiet.port), "Refresh": f"0; url=http://[::1]:{quiet.port}/"}
    with far_side() as sound:
        url = sound.serve("/a", reply(status=status, headers=headers))
        answer = await client.send("GET", url, seconds=60, most_bytes=1_000)
        assert (answer.status, len(sound.asked)) == (status, 1)
    await client.close()
    assert quiet.connections == 0


@pytest.mark.usefixtures("names")
async def test_a_name_that_changes_its_answer_is_judged_for_each_connection() -> None:
    client = OutboundClient(allow=AddressRule(parse_networks(["127.0.0.0/8"])).allows)
    reasons = []
    with far_side() as sound:
        sound.serve("/", reply(b"sound"))
        url = f"http://rebinding.example:{sound.port}/"
        for _ in ANSWERS["rebinding.example"]:
            try:
                reasons.append(str((await client.send("GET", url, seconds=60, most_bytes=1_000)).status))
            except OutboundRefused as refused:
                reasons.append(refused.reason)
            await client.close()
        assert (reasons, sound.connections) == (["200", "denied", "denied", "200"], 2)


async def test_who_may_connect_is_counted() -> None:
    quiet = Quiet()
    client = OutboundClient(allow=AddressRule(parse_networks(["127.0.0.0/8", "::1"])).allows)
    for host in ("127.0.0.1", "127.1", "2130706433", "[::1]"):
        answer = await client.send("GET", f"http://{host}:{quiet.port}/", seconds=60, most_bytes=1_000)
        assert answer.body == b"reached"
        await client.close()
    assert quiet.connections == 4
    quiet.close()
