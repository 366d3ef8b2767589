"""Says in words whether an upstream MCP server works, and whether it still offers what was taken over of it.

In a session of its own, on connections of its own. It calls no tool, and raises nothing for a bad server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

from core.errors import InvalidInput, MarinaError
from servers.execution.authorizing.faults import NEEDED
from servers.execution.backends.mcp.catalog import fetch_of
from servers.execution.backends.mcp.faults import in_words, named, unlike_mcp
from servers.execution.backends.mcp.hearing import ALL_CAPABILITIES
from servers.execution.backends.mcp.offers import fingerprint, fingerprints, offer_catalog
from servers.execution.backends.mcp.pools import Reach, Upstream
from servers.execution.backends.mcp.session import within
from servers.execution.backends.mcp.settings import KEPT, McpSettings, read_settings
from servers.execution.backends.mcp.signing import ask_challenge
from servers.execution.backends.mcp.wire import RpcError
from servers.execution.contract import Health, HealthState, Moved, Offering, PartHealth, Source
from servers.execution.unanswered import host_of

CHECK_SECONDS: Final = 10.0
_PING_BYTES: Final = 65_536

_CHANGED: Final = "definitions_changed"
_OTHERWISE: Final = (
    "The MCP server describes what it offers otherwise than when that was taken over. Clients are still told what "
    "it was then. Refresh the data source to see what changed, and decide."
)
_SOME_MOVED: Final = (
    "The MCP server describes {count} otherwise than when that was taken over, or no more. They are in quarantine: "
    "calls are refused. Refresh the data source to see what changed, and decide."
)
_NOTHING_YET: Final = (
    "Somebody is signed in, and nothing of what the MCP server offers was taken over yet. Refresh the data source to "
    "look at it."
)
_NOBODY_YET: Final = (
    "Each member signs in for themselves. Nothing of what the MCP server offers was taken over yet: sign in, then "
    "refresh the data source to look at it."
)
_CHANGED_ONE: Final = "The MCP server describes this {what} otherwise than when the team took it over."
_GONE: Final = "The MCP server does not offer this {what} any more. {reason}"


async def check_source(source: Source, *, reach: Reach) -> Health:
    """Connect, and ask whether somebody is there. ``latency_ms`` is that of the handshake and the ping."""
    try:
        settings = read_settings(source.settings)
    except InvalidInput as fault:
        reason = fault.errors[0]["message"] if fault.errors else fault.message
        return Health("unhealthy", reason, fault.code)
    count = 1 + len(settings.replicas)
    if count == 1:
        return await _check_one(source, settings, settings, reach)
    found = await asyncio.gather(
        *(_check_in_time(source, settings.of(number), settings, reach) for number in range(count))
    )
    return _together(settings, found)


async def _check_in_time(source: Source, one: McpSettings, settings: McpSettings, reach: Reach) -> Health:
    """As ``_check_one``. One server that hangs is no reason to know nothing of the others."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await _check_one(source, one, settings, reach)
    except TimeoutError:
        reason = f"{named(one.url)} did not answer within {CHECK_SECONDS:g} s."
        return Health("unhealthy", reason, "source_timeout", CHECK_SECONDS * 1_000)


async def _check_one(source: Source, one: McpSettings, settings: McpSettings, reach: Reach) -> Health:
    """How the server of the settings ``one`` does, beside what was taken over with ``settings``."""
    started = monotonic()
    try:
        if one.each_member:
            return await _for_members(source, one, reach)
        signer = reach.signers.of(source, one, None)
        upstream = Upstream(one, reach=reach, source=source, signer=signer, aside=True)
        try:
            await _ping(upstream)
            latency = round((monotonic() - started) * 1_000, 3)
            return await _compared(source, upstream, settings, latency)
        finally:
            await upstream.close()
    except MarinaError as fault:
        latency = round((monotonic() - started) * 1_000, 3)
        if fault.code == NEEDED:  # Why the last sign-in ended says more than that one is needed.
            return Health("needs_sign_in", str(fault.data.get("reason", fault.message)), NEEDED, latency)
        return Health("unhealthy", fault.message, fault.code, latency)


async def _for_members(source: Source, settings: McpSettings, reach: Reach) -> Health:
    """Whether somebody is there: nobody's sign-in is used for what nobody asked for."""
    started = monotonic()
    await ask_challenge(settings, allow=reach.allow)
    latency = round((monotonic() - started) * 1_000, 3)
    if KEPT not in source.settings:
        return Health("needs_sign_in", _NOBODY_YET, NEEDED, latency)
    return Health("healthy", latency_ms=latency)


async def probe(source: Source, settings: McpSettings, seconds: float, *, reach: Reach) -> None:
    """Find out whether an upstream of the source answers within these seconds. Raises ``MarinaError``.

    The time that getting a token takes is none of them.
    """
    if settings.each_member:
        await within(seconds, settings.url, ask_challenge(settings, allow=reach.allow))
        return
    signer = reach.signers.of(source, settings, None)
    upstream = Upstream(settings, reach=reach, source=source, signer=signer, aside=True)
    try:
        await _ping(upstream, seconds)
    finally:
        await upstream.close()


async def _ping(upstream: Upstream, seconds: float = CHECK_SECONDS) -> None:
    """Shake hands, and ask whether somebody is there. Raises ``MarinaError``."""
    settings = upstream.settings

    async def ask() -> None:
        conversation = await upstream.connect(ALL_CAPABILITIES)
        try:
            if not conversation.server.modern:
                # Of 2026-07-28 there is no ping: that it told what it is was one.
                await conversation.request("ping", {}, most_bytes=_PING_BYTES)
        finally:
            upstream.later(conversation.end())

    try:
        with in_words(settings.url):
            await upstream.signed(lambda: within(seconds, settings.url, ask()), checking=True)
    except RpcError as error:
        raise unlike_mcp(settings.url, f"it answered a ping with error {error.code}") from None


def _together(settings: McpSettings, found: Sequence[Health]) -> Health:
    """How a source does whose servers do so. What one of them describes otherwise is otherwise for whoever calls."""
    names = [host_of(settings.of(number).url) for number in range(len(found))]
    parts = [
        PartHealth(settings.of(number).url, each.state, each.reason, each.latency_ms)
        for number, each in enumerate(found)
    ]
    answering = [each for each in found if each.state != "unhealthy"]
    if not answering:
        reason = f"None of the {len(found)} servers of this source can be used. {found[0].reason}"
        return Health("unhealthy", reason, found[0].code, found[0].latency_ms, parts=parts)
    known = [each.moved for each in found if each.moved is not None]
    moved = None
    if known:
        moved = Moved(
            {name: why for each in known for name, why in each.tools.items()},
            {name: why for each in known for name, why in each.resources.items()},
            {name: why for each in known for name, why in each.prompts.items()},
            partial=len(known) < len(found),
        )
    latency = min(each.latency_ms for each in answering if each.latency_ms is not None)
    faulty = [(name, each) for name, each in zip(names, found, strict=True) if each.state != "healthy"]
    if not faulty:
        return Health("healthy", latency_ms=latency, moved=moved, parts=parts)
    worst = next((each for each in found if each.state == "quarantined"), faulty[0][1])
    reasons = " ".join(f"{name}: {each.reason}" for name, each in faulty)
    reason = f"{len(faulty)} of the {len(found)} servers of this source: {reasons}"
    state: HealthState = "quarantined" if worst.state == "quarantined" else "degraded"
    return Health(state, reason, worst.code, latency, moved, parts)


async def _compared(source: Source, upstream: Upstream, settings: McpSettings, latency: float) -> Health:
    kept = source.settings.get(KEPT)
    if kept is None and settings.browses:
        return Health("degraded", _NOTHING_YET, "nothing_taken_over", latency)
    if not isinstance(kept, dict) or (known := kept.get("fingerprint")) is None:
        return Health("healthy", latency_ms=latency)
    catalog = await fetch_of(upstream)
    try:
        offering = offer_catalog(catalog, settings.plain)
    except InvalidInput as fault:
        moved = _moved(kept, Offering(), settings)
        return Health("quarantined" if moved else "degraded", fault.message, _CHANGED, latency, moved)
    if fingerprint(offering) == known:
        return Health("healthy", latency_ms=latency, moved=Moved())
    moved = _moved(kept, offering, settings)
    if moved:
        return Health("quarantined", _SOME_MOVED.format(count=_count(moved)), _CHANGED, latency, moved)
    return Health("degraded", _OTHERWISE, _CHANGED, latency, moved)


def _moved(kept: Mapping[str, Any], offering: Offering, settings: McpSettings) -> Moved | None:
    """What was taken over and is not described as it was; ``None`` where that was not kept, by an earlier release."""
    known = kept.get("fingerprints")
    if not isinstance(known, Mapping):
        return None
    now = fingerprints(offering)
    left_out = {f"{each.what} {each.name}": each.reason for each in offering.left_out}
    found: dict[str, dict[str, str]] = {}
    for what, one in (("tools", "tool"), ("resources", "resource"), ("prompts", "prompt")):
        found[what] = {
            name: _GONE.format(
                what=one, reason=left_out.get(f"{one} {name.removeprefix(settings.prefix)}", "")
            ).strip()
            if name not in now[what]
            else _CHANGED_ONE.format(what=one)
            for name, digest in known.get(what, {}).items()
            if now[what].get(name) != digest
        }
    return Moved(_as_named(found["tools"], settings), found["resources"], found["prompts"])


def _as_named(tools: Mapping[str, str], settings: McpSettings) -> dict[str, str]:
    """Tools by the names that overrides give them."""
    names = {settings.prefix + name: each.name for name, each in settings.overrides.items() if each.name}
    return {names.get(name, name): reason for name, reason in tools.items()}


def _count(moved: Moved) -> str:
    """In words: 2 tools and 1 prompt."""
    counts = ((len(moved.tools), "tool"), (len(moved.resources), "resource"), (len(moved.prompts), "prompt"))
    words = [f"{count} {what}{'' if count == 1 else 's'}" for count, what in counts if count]
    return " and ".join(", ".join(words).rsplit(", ", 1))
