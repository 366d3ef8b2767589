"""The settings of an upstream MCP server: what an admin may give, their limits, and what may be shown. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from core.errors import InvalidInput
from servers.execution.authorizing.challenges import read_scopes
from servers.execution.backends.mcp.faults import HOSTED
from servers.execution.backends.mcp.form import MAX_ARGS, MAX_ENV, MAX_HEADERS, MAX_REPLICAS, PROPERTIES
from servers.execution.backends.mcp.masking import sought
from servers.execution.backends.mcp.overrides import NAME, Overrides, read_overrides, written
from servers.execution.backends.mcp.picks import Picks, pick_faults
from servers.execution.parameters import Faults
from servers.execution.settings import read_number, read_text

Auth = Literal["none", "bearer", "headers", "oauth"]
Balance = Literal["round_robin", "least_busy"]
SignInBy = Literal["team", "member", "client"]
Transport = Literal["auto", "http", "sse", "stdio"]

CATALOG: Final = "catalog"
"""Under it, in settings that are in memory only, stands what the server said that it offers."""
KEPT: Final = "upstream"
"""Under it is kept what the server was when its offer was taken over. Nobody enters it."""

SECRETS: Final = frozenset({"token", "headers", "client_secret", "env"})

_TAKEN: Final[Mapping[Auth, frozenset[str]]] = {
    "none": frozenset(),
    "bearer": frozenset({"token", "headers"}),
    "headers": frozenset({"headers"}),
    "oauth": frozenset({"client_secret"}),
}
_SIGNERS: Final[tuple[SignInBy, ...]] = ("team", "member", "client")
_OF_OAUTH: Final = ("client_id", "issuer", "scope")
_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_OWN_VARIABLES: Final = frozenset({"HOME", "LANG", "PATH", "PWD", "TMPDIR"})
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_OWN_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "last-event-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.?)+|\[[0-9A-Fa-f:.]+\]")
_UPWARDS: Final = re.compile(r"(?i)/(?:\.|%2e){1,2}(?:/|$)")


@dataclass(frozen=True, slots=True)
class McpSettings:
    """Settings ready for use. ``timeout`` in seconds; ``headers`` are all that sign in, a token's included.

    Where there is a ``command``, ``url`` is what errors call it by, and no address. ``replicas`` are further addresses
    of the same server.
    """

    url: str
    transport: Transport
    auth: Auth
    token: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    prefix: str
    tools: Picks
    resources: Picks
    prompts: Picks
    timeout: float
    max_bytes: int
    replicas: tuple[str, ...] = ()
    balance: Balance = "round_robin"
    overrides: Overrides = field(default_factory=dict)
    badly_named: frozenset[str] = frozenset()
    """Tools whose own names are none, and that are compared by them all the same: they have other ones here."""

    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    sign_in: SignInBy = "team"
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    issuer: str = ""
    scopes: tuple[str, ...] = ()

    @property
    def plain(self) -> McpSettings:
        """The same without overrides: by it is told what the server itself says."""
        renamed = (tool for tool, each in self.overrides.items() if each.name)
        bad = frozenset(tool for tool in renamed if not NAME.fullmatch(self.prefix + tool))
        return replace(self, overrides={}, badly_named=bad)

    def of(self, number: int) -> McpSettings:
        """Those of one of the source's upstreams, as of a source that has no other: 0 is the first."""
        return replace(self, url=(self.url, *self.replicas)[number], replicas=())

    @property
    def browses(self) -> bool:
        """Whether a person signs in by a browser."""
        return self.auth == "oauth" and self.sign_in != "client"

    @property
    def each_member(self) -> bool:
        """Whether each member does so for themselves."""
        return self.browses and self.sign_in == "member"

    @property
    def signing(self) -> list[tuple[str, str]]:
        """The headers that sign a request in."""
        bearer = [("Authorization", f"Bearer {self.token}")] if self.token else []
        return [*bearer, *self.headers.items()]

    @property
    def secrets(self) -> list[str]:
        """What may stand in nothing that is shown, longest first."""
        return sought((self.token, self.client_secret, *self.headers.values(), *self.env.values()))


def read_settings(settings: Mapping[str, Any]) -> McpSettings:
    """Parse and check everything. Raises ``InvalidInput`` with every fault at once."""
    faults: Faults = [
        {"path": str(name)[:80], "message": "There is no such setting."}
        for name in settings
        if name not in PROPERTIES and name not in (CATALOG, KEPT)
    ]
    url = read_text(settings, "url", PROPERTIES["url"], faults)
    command = read_text(settings, "command", PROPERTIES["command"], faults)
    transport = _read_transport(settings, command, faults)
    if transport == "stdio":
        _check_stdio(settings, command, faults)
        url = f"{HOSTED}://{command}"
    else:
        faults.extend(
            {"path": name, "message": "Only a command has it: set transport to stdio, or leave this out."}
            for name in ("command", "args", "env")
            if settings.get(name)
        )
        if fault := address_fault(url):
            faults.append({"path": "url", "message": fault})
    token = read_text(settings, "token", PROPERTIES["token"], faults, secret=True)
    headers = _read_headers(settings.get("headers"), faults)
    secret = read_text(settings, "client_secret", PROPERTIES["client_secret"], faults, secret=True)
    auth = _read_auth(settings, {"token": token, "headers": headers, "client_secret": secret}, faults)
    signing_in = _read_sign_in(settings, auth, secret, faults)
    prefix = read_text(settings, "prefix", PROPERTIES["prefix"], faults)
    if prefix and not _PREFIX.fullmatch(prefix):
        message = "It begins with a letter or digit, and has letters, digits, dots, hyphens and underscores."
        faults.append({"path": "prefix", "message": message})
    replicas = _read_replicas(settings.get("replicas"), url, faults)
    if replicas and (auth == "oauth" or transport == "stdio"):
        # A token is for one address, and goes to no other.
        message = "A sign-in, and a command, has one server only: leave this out."
        faults.append({"path": "replicas", "message": message})
    checked = McpSettings(
        url=url,
        transport=transport,
        auth=auth,
        token=token,
        headers=headers,
        prefix=prefix,
        tools=_read_picks(settings, "tools", faults),
        resources=_read_picks(settings, "resources", faults),
        prompts=_read_picks(settings, "prompts", faults),
        timeout=float(read_number(settings, "timeout", PROPERTIES["timeout"], faults)),
        max_bytes=int(read_number(settings, "max_bytes", PROPERTIES["max_bytes"], faults)),
        replicas=replicas,
        balance=_read_balance(settings.get("balance"), faults),
        overrides=read_overrides(settings.get("overrides"), faults),
        command=command,
        args=_read_args(settings.get("args"), faults),
        env=_read_env(settings.get("env"), faults),
        client_secret=secret,
        **signing_in,
    )
    if faults:
        raise InvalidInput("The settings of the data source are not valid.", errors=faults)
    return checked


def clean_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they are stored: checked, with every default written out, and nothing that is empty."""
    checked = read_settings(settings)
    kept = {
        "replicas": list(checked.replicas),
        "balance": checked.balance if checked.replicas else "",
        "token": checked.token,
        "headers": dict(checked.headers),
        "sign_in": checked.sign_in if checked.auth == "oauth" else "",
        "client_id": checked.client_id,
        "client_secret": checked.client_secret,
        "issuer": checked.issuer,
        "scope": " ".join(checked.scopes),
        "prefix": checked.prefix,
        "tools": list(checked.tools.patterns),
        "resources": list(checked.resources.patterns),
        "prompts": list(checked.prompts.patterns),
        "args": list(checked.args),
        "env": dict(checked.env),
        "overrides": written(checked.overrides),
    }
    return {
        **({"command": checked.command} if checked.command else {"url": checked.url}),
        **({} if checked.transport == "auto" else {"transport": checked.transport}),
        "auth": checked.auth,
        **{name: value for name, value in kept.items() if value},
        "timeout": settings.get("timeout") or PROPERTIES["timeout"]["default"],
        "max_bytes": checked.max_bytes,
    }


def address_fault(url: str) -> str:
    """Why no MCP server is asked at this address; empty where one may be."""
    if not url:
        return "Give the address of the server's MCP endpoint: https://mcp.example.com/mcp."
    if not url.isascii() or not _PRINTABLE.fullmatch(url) or "\\" in url:
        return "The address holds a space, a backslash or a sign that is not ASCII. Leave it out."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "The address cannot be read. Write it as https://mcp.example.com/mcp."
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "The address begins with https:// or http:// and names a host."
    if "@" in parts.netloc:
        return "The address holds a user name or password. Signing in is a setting of its own."
    if "#" in url or _UPWARDS.search(parts.path):
        return "The address holds a # or leads upwards (..). Leave it out."
    host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc.removesuffix(":")
    if not _HOST.fullmatch(host) or port == 0:
        return "The host is no name or IP address; write an international name in its xn-- form."
    return ""


def _read_transport(settings: Mapping[str, Any], command: str, faults: Faults) -> Transport:
    match settings.get("transport"):
        case None | "" | "auto":
            # Whoever names a command, and no address, means it to be run.
            return "stdio" if command and not settings.get("url") else "auto"
        case "http":
            return "http"
        case "sse":
            return "sse"
        case "stdio":
            return "stdio"
    faults.append({"path": "transport", "message": "It is one of auto, http, sse, stdio."})
    return "auto"


def _check_stdio(settings: Mapping[str, Any], command: str, faults: Faults) -> None:
    if not command:
        faults.append({"path": "command", "message": "Name one of the commands that the operator allows."})
    if settings.get("url"):
        faults.append(
            {"path": "url", "message": "transport is stdio: leave this out, or choose another one."}
        )
    if settings.get("auth") not in (None, "none"):
        message = "A command is not signed in to. What it needs to know goes into env."
        faults.append({"path": "auth", "message": message})


def _read_args(given: Any, faults: Faults) -> tuple[str, ...]:
    if given in (None, ""):
        return ()
    if not isinstance(given, list) or len(given) > MAX_ARGS:
        faults.append({"path": "args", "message": f"Give a list of at most {MAX_ARGS} texts."})
        return ()
    if any(not isinstance(each, str) or len(each) > 4_096 or "\0" in each for each in given):
        faults.append({"path": "args", "message": "Give texts of at most 4096 characters."})
        return ()
    return tuple(given)


def _read_env(given: Any, faults: Faults) -> dict[str, str]:
    if given in (None, ""):
        return {}
    if not isinstance(given, Mapping) or len(given) > MAX_ENV:
        message = f'Give an object of at most {MAX_ENV} variables: {{"API_KEY": "…"}}.'
        faults.append({"path": "env", "message": message})
        return {}
    env: dict[str, str] = {}
    for name, value in given.items():
        message = ""
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            message = "A variable's name has letters, digits and underscores."
        elif name in _OWN_VARIABLES or name.startswith("LD_"):
            message = "Marina writes this variable itself, or leaves it out."
        elif not isinstance(value, str) or len(value) > 8_192 or "\0" in value:
            message = "Give a text of at most 8192 characters."
        if message:
            faults.append({"path": f"env.{str(name)[:80]}", "message": message})
        else:
            env[name] = value
    return env


def _read_auth(settings: Mapping[str, Any], secrets: Mapping[str, Any], faults: Faults) -> Auth:
    given, token, headers = settings.get("auth"), secrets["token"], secrets["headers"]
    if given is None:
        # Whoever pastes a token or headers means them to be sent.
        given = "bearer" if token else "headers" if headers else "none"
    if not isinstance(given, str) or given not in _TAKEN:
        faults.append({"path": "auth", "message": f"It is one of {', '.join(_TAKEN)}."})
        return "none"
    auth: Auth = given  # type: ignore[assignment]  # it is one of them
    if auth == "bearer" and not token:
        faults.append({"path": "token", "message": "Signing in by bearer needs it."})
    if auth == "headers" and not headers:
        faults.append({"path": "headers", "message": "Signing in by headers needs at least one."})
    for name in sorted(secrets.keys() - _TAKEN[auth]):
        if secrets[name]:
            users = " or ".join(each for each, taken in _TAKEN.items() if name in taken)
            message = f"auth is {auth}: leave this out, or set auth to {users}."
            faults.append({"path": name, "message": message})
    if token and not _PRINTABLE.fullmatch(token):
        message = "It holds a space, a line break or another sign that none has."
        faults.append({"path": "token", "message": message})
    if token and any(name.lower() == "authorization" for name in headers):
        message = "The token is sent in this header. Leave one of the two out."
        faults.append({"path": "headers.Authorization", "message": message})
    return auth


def _read_sign_in(settings: Mapping[str, Any], auth: Auth, secret: str, faults: Faults) -> dict[str, Any]:
    """Who signs in by OAuth, and as which client."""
    texts = {name: read_text(settings, name, PROPERTIES[name], faults) for name in _OF_OAUTH}
    by = settings.get("sign_in") or "team"
    if by not in _SIGNERS:
        faults.append({"path": "sign_in", "message": f"It is one of {', '.join(_SIGNERS)}."})
    if auth != "oauth":
        # Who signs in stands in every form, whatever is chosen.
        faults.extend(
            {"path": name, "message": f"auth is {auth}: leave this out, or set auth to oauth."}
            for name in _OF_OAUTH
            if texts[name]
        )
        return {}
    client, issuer = texts["client_id"], texts["issuer"]
    if by == "client" and not (client and secret):
        message = "Marina signs in by itself with a client id and its secret only. Give both."
        faults.append({"path": "client_secret" if client else "client_id", "message": message})
    elif secret and not client:
        faults.append({"path": "client_id", "message": "A client secret goes with its client id. Give both."})
    if client and not issuer:
        message = "Say whose client id it is: the issuer of the authorization server that gave it to you."
        faults.append({"path": "issuer", "message": message})
    if issuer and address_fault(issuer):
        message = "Give the issuer of an authorization server: https://login.example.com."
        faults.append({"path": "issuer", "message": message})
    for name, value in (("client_id", client), ("client_secret", secret)):
        if value and not (value.isascii() and value.isprintable()):
            faults.append({"path": name, "message": "It holds a sign that none has."})
    scopes = read_scopes(texts["scope"])
    if len(scopes) != len(set(texts["scope"].split())):
        faults.append({"path": "scope", "message": "Give scopes of plain characters, separated by spaces."})
    return {"sign_in": by, "client_id": client, "issuer": issuer, "scopes": scopes}


def _read_headers(given: Any, faults: Faults) -> dict[str, str]:
    if given in (None, ""):
        return {}
    if not isinstance(given, Mapping) or len(given) > MAX_HEADERS:
        message = f'Give an object of at most {MAX_HEADERS} headers: {{"X-API-Key": "…"}}.'
        faults.append({"path": "headers", "message": message})
        return {}
    headers: dict[str, str] = {}
    for name, value in given.items():
        message = _header_fault(name)
        if not message and (
            not isinstance(value, str) or len(value) > 8_192 or not _HEADER_VALUE.fullmatch(value)
        ):
            message = "Give a text of plain ASCII characters, with no space at its ends."
        elif not message and name.lower() in {each.lower() for each in headers}:
            message = "It is there twice."
        if message:
            faults.append({"path": f"headers.{str(name)[:80]}", "message": message})
        else:
            headers[name] = value
    return headers


def _header_fault(name: Any) -> str:
    if not isinstance(name, str) or not _HEADER.fullmatch(name):
        return "A header's name has letters, digits and hyphens."
    lower = name.lower()
    if lower in _OWN_HEADERS or lower.startswith(("mcp-", "proxy-", "sec-")):
        return "Marina writes this header itself."
    return ""


def _read_replicas(given: Any, url: str, faults: Faults) -> tuple[str, ...]:
    if given in (None, ""):
        return ()
    if not isinstance(given, list) or len(given) > MAX_REPLICAS:
        faults.append({"path": "replicas", "message": f"It is a list of at most {MAX_REPLICAS} addresses."})
        return ()
    read: list[str] = []
    for number, each in enumerate(given):
        fault = address_fault(each) if isinstance(each, str) and len(each) <= 2_048 else "It is no address."
        if not fault and each in (url, *read):
            fault = "It is there twice."
        if fault:
            faults.append({"path": f"replicas.{number}", "message": fault})
        else:
            read.append(each)
    return tuple(read)


def _read_balance(given: Any, faults: Faults) -> Balance:
    if given not in (None, "", "round_robin", "least_busy"):
        faults.append({"path": "balance", "message": "It is round_robin or least_busy."})
    return "least_busy" if given == "least_busy" else "round_robin"


def _read_picks(settings: Mapping[str, Any], name: str, faults: Faults) -> Picks:
    given = settings.get(name)
    found = pick_faults(given)
    faults.extend({"path": f"{name}{path}", "message": message} for path, message in found)
    return Picks(() if found or given in (None, "") else tuple(given))
