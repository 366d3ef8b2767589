"""The methods that are served: one table, name → handler and eras. Framing and identity are done before."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from servers.endpoint.context import check_meta
from servers.endpoint.handlers import lifecycle, prompts, resources, subscriptions, tasks, tools
from servers.endpoint.incoming import Handler, Incoming
from servers.endpoint.wire import METHOD_NOT_FOUND, RpcError


@dataclass(frozen=True, slots=True)
class Method:
    """How a method is served: by whom, and in which eras it exists."""

    handler: Handler
    legacy: bool = True
    modern: bool = True


METHODS: Final[dict[str, Method]] = {
    "initialize": Method(lifecycle.initialize, modern=False),
    "ping": Method(lifecycle.ping, modern=False),
    "logging/setLevel": Method(lifecycle.set_level, modern=False),
    "server/discover": Method(lifecycle.discover, legacy=False),
    "tools/list": Method(tools.list_tools),
    "tools/call": Method(tools.run_tool),
    "resources/list": Method(resources.list_resources),
    "resources/templates/list": Method(resources.list_templates),
    "resources/read": Method(resources.read),
    "resources/subscribe": Method(resources.subscribe, modern=False),
    "resources/unsubscribe": Method(resources.unsubscribe, modern=False),
    "prompts/list": Method(prompts.list_prompts),
    "prompts/get": Method(prompts.get),
    "completion/complete": Method(prompts.complete_value),
    "subscriptions/listen": Method(subscriptions.listen, legacy=False),
    "tasks/get": Method(tasks.get, legacy=False),
    "tasks/update": Method(tasks.update, legacy=False),
    "tasks/cancel": Method(tasks.cancel, legacy=False),
}


def run_method(incoming: Incoming) -> Awaitable[bytes]:
    """The method, begun: to be awaited for the JSON of its result. Raises ``RpcError`` and ``MarinaError``."""
    method = METHODS.get(incoming.method)
    if method is None or not (method.modern if incoming.modern else method.legacy):
        served = ", ".join(
            name for name, each in METHODS.items() if (each.modern if incoming.modern else each.legacy)
        )
        raise RpcError(
            METHOD_NOT_FOUND,
            f"The method {incoming.method[:80]} is not served here in protocol version {incoming.version}. "
            f"Served are: {served}.",
            data={"code": "method_unknown"},
        )
    check_meta(incoming.params, modern=incoming.modern)
    return method.handler(incoming)
