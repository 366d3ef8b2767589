"""What a source needs that is made of an OpenAPI document: where its API is, and how to sign in there. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin

from servers.execution.backends.http.definitions import header_fault
from servers.execution.backends.http.openapi.conversion import bounded_text
from servers.execution.backends.http.openapi.documents import BadReference, Document
from servers.execution.backends.http.paths import BadAddress, read_base_url

_VARIABLE: Final = re.compile(r"\{([^{}]{1,64})\}")


@dataclass(frozen=True, slots=True)
class SignIn:
    """A way to sign in that a document names.

    ``kind`` is ``none``, ``bearer``, ``basic``, ``header``, ``query``, ``cookie`` (a key there, called ``name``),
    ``oauth`` (client credentials at ``token_url``) or ``other``, which Marina does not know.
    """

    kind: str
    scheme: str = ""
    name: str = ""
    token_url: str = ""
    scopes: tuple[str, ...] = ()
    description: str = ""

    def settings(self) -> dict[str, str]:
        """What a source's settings say of it, but for the secrets; nothing where Marina cannot sign in so."""
        match self.kind:
            case "header":
                return {"auth": "api_key", "key_header": self.name}
            case "oauth":
                return {"auth": "oauth", "token_url": self.token_url, "scope": " ".join(self.scopes)}
            case "none" | "bearer" | "basic":
                return {"auth": self.kind}
        return {}


def first_server(servers: Any) -> str:
    """The address of the first of some servers, its variables at their defaults; empty where there is none."""
    first = servers[0] if isinstance(servers, list) and servers else None
    if not isinstance(first, Mapping) or not isinstance(first.get("url"), str):
        return ""
    variables = first.get("variables")

    def default(found: re.Match[str]) -> str:
        each = variables.get(found[1]) if isinstance(variables, Mapping) else None
        value = each.get("default") if isinstance(each, Mapping) else None
        return str(value) if isinstance(value, str | int) else found[0]

    return _VARIABLE.sub(default, first["url"])[:2_048]


def base_url_of(document: Document, fetched_from: str = "") -> str:
    """The base address of a document's API; empty where it names none that can be used.

    A relative one is read against the address that the document came from.
    """
    url = first_server(document.root.get("servers"))
    if fetched_from:
        url = urljoin(fetched_from, url or "/")
    try:
        return read_base_url(url)
    except BadAddress:
        return ""


def sign_ins_of(document: Document) -> list[SignIn]:
    """The ways to sign in, those first that the document as a whole asks for; ``none`` where it asks for none."""
    components = document.root.get("components")
    schemes = components.get("securitySchemes") if isinstance(components, Mapping) else None
    if not isinstance(schemes, Mapping) or not schemes:
        return [SignIn("none")]
    asked: dict[str, tuple[str, ...]] = {}
    required = document.root.get("security")
    for each in required if isinstance(required, list) else ():
        for name, scopes in each.items() if isinstance(each, Mapping) else ():
            asked.setdefault(str(name), _texts(scopes))
    names = [*(name for name in asked if name in schemes), *(name for name in schemes if name not in asked)]
    found = [_sign_in(document, name, schemes[name], asked.get(name, ())) for name in names[:20]]
    return sorted(found, key=lambda each: each.kind == "other")


def _sign_in(document: Document, name: str, scheme: Any, scopes: tuple[str, ...]) -> SignIn:
    scheme_name = bounded_text(name, 80)
    try:
        scheme, _ = document.follow(scheme, f"#/components/securitySchemes/{name}")
    except BadReference:
        return SignIn("other", scheme_name)
    if not isinstance(scheme, Mapping):
        return SignIn("other", scheme_name)
    kind, where = "other", ""
    token_url = ""
    match scheme.get("type"), str(scheme.get("scheme", "")).lower():
        case "http", "bearer" | "basic" as known:
            kind = known
        case "http", "token":
            kind = "bearer"
        case "apiKey", _ if (
            scheme.get("in") == "header" and str(scheme.get("name")).lower() == "authorization"
        ):
            kind = "bearer"
        case "apiKey", _ if scheme.get("in") in ("header", "query", "cookie"):
            kind, where = str(scheme["in"]), str(scheme.get("name"))[:128]
            if kind == "header" and header_fault(where):
                kind = "other"
        case "oauth2", _:
            kind, token_url, listed = _flow(scheme.get("flows"))
            scopes = scopes or listed
        case "openIdConnect", _:
            kind = "bearer"
    return SignIn(kind, scheme_name, where, token_url, scopes, bounded_text(scheme.get("description"), 300))


def _flow(flows: Any) -> tuple[str, str, tuple[str, ...]]:
    """Client credentials where they are offered; with other flows a person gets a token, and Marina is given it."""
    flow = flows.get("clientCredentials") if isinstance(flows, Mapping) else None
    if not isinstance(flow, Mapping):
        return "bearer", "", ()
    return "oauth", bounded_text(flow.get("tokenUrl"), 2_048), _texts(list(flow.get("scopes") or ()))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(bounded_text(each, 200) for each in value[:100]) if isinstance(value, list) else ()
