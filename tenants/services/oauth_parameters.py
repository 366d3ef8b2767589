"""What an OAuth request may look like at all, before any rule of the protocol is asked. Pure.

oauthlib keeps the last of doubled parameters and hands on whatever characters came; the database refuses NUL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from tenants.oauth_addresses import server_of

GRANTS: Final = ("authorization_code", "refresh_token", "client_credentials")

NO_CODE: Final = "Only response_type code is offered, in the query."
NO_CHALLENGE: Final = "PKCE is required, with code_challenge_method S256."

MAX_CHARACTERS: Final = 16 * 1024
"""Of all of a request's parameters together."""

MAX_SCOPE_CHARACTERS: Final = 4096
MAX_STATE_CHARACTERS: Final = 4096

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class OAuthFault(Exception):
    """A request that breaks a rule of the protocol: the registered error code, and a sentence for its developer.

    ``location`` is where the browser is to go with it, which is the address of the client ``client_id``; ``None``: it
    is answered here.
    """

    def __init__(
        self,
        code: str,
        description: str,
        *,
        status: int = 400,
        location: str | None = None,
        client_id: str = "",
    ) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description
        self.status = status
        self.location = location
        self.client_id = client_id


def read_parameters(given: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Each parameter once. Raises ``OAuthFault`` for one that came twice, is too long or holds control characters.

    Of several ``resource`` all are kept, by a space, which no URI holds: whether one is right is judged elsewhere.
    """
    parameters: dict[str, str] = {}
    size = 0
    for name, value in given:
        size += len(name) + len(value)
        if size > MAX_CHARACTERS:
            raise OAuthFault(
                "invalid_request", f"The parameters are longer than {MAX_CHARACTERS} characters."
            )
        if _CONTROL.search(name) or _CONTROL.search(value):
            raise OAuthFault("invalid_request", "A parameter holds a control character.")
        if name in parameters and name == "resource":
            parameters[name] = f"{parameters[name]} {value}"
        elif name in parameters:
            raise OAuthFault("invalid_request", f"The parameter {name[:40]} came twice.")
        else:
            parameters[name] = value
    if "scope" in parameters and len(parameters["scope"]) > MAX_SCOPE_CHARACTERS:
        raise OAuthFault("invalid_scope", f"The scope is longer than {MAX_SCOPE_CHARACTERS} characters.")
    if len(parameters.get("state", "")) > MAX_STATE_CHARACTERS:
        raise OAuthFault("invalid_request", f"The state is longer than {MAX_STATE_CHARACTERS} characters.")
    return parameters


def read_server(parameters: Mapping[str, str], tenant_slug: str) -> str:
    """The server that the one ``resource`` names (RFC 8707). Raises ``OAuthFault``: none, several, not this team's."""
    wanted = parameters.get("resource", "")
    server = server_of(wanted, tenant_slug)
    if server is None:
        raise OAuthFault(
            "invalid_target",
            "Send exactly one resource: the MCP URL of a server of this team, as its protected resource metadata "
            "writes it.",
        )
    return server


def check_grant_type(parameters: Mapping[str, str]) -> None:
    """Raise ``OAuthFault`` for a grant that is not offered: OAuth 2.1 has no password grant."""
    if parameters.get("grant_type") not in GRANTS:
        raise OAuthFault("unsupported_grant_type", f"The grant types are {', '.join(GRANTS)}.")


def check_response(parameters: Mapping[str, str]) -> None:
    """Raise ``OAuthFault`` for an answer other than a code in the query: OAuth 2.1 has no implicit grant."""
    if parameters.get("response_type") != "code" or parameters.get("response_mode", "query") != "query":
        raise OAuthFault("unsupported_response_type", NO_CODE)
    if "request" in parameters or "request_uri" in parameters:
        raise OAuthFault("request_not_supported", "Send the parameters themselves, not in a request object.")


def check_challenge(parameters: Mapping[str, str]) -> None:
    """Raise ``OAuthFault`` unless PKCE's challenge is a SHA-256 (RFC 7636 section 4.2)."""
    if parameters.get("code_challenge_method") != "S256":
        raise OAuthFault("invalid_request", NO_CHALLENGE)
    if not _CHALLENGE.fullmatch(parameters.get("code_challenge", "")):
        raise OAuthFault(
            "invalid_request", "The code_challenge is not a SHA-256 in base64url: 43 characters."
        )


def check_verifier(parameters: Mapping[str, str]) -> None:
    """Raise ``OAuthFault`` where a verifier was sent that none can be (RFC 7636 section 4.1)."""
    if "code_verifier" in parameters and not _VERIFIER.fullmatch(parameters["code_verifier"]):
        raise OAuthFault("invalid_grant", "The code_verifier is not 43 to 128 unreserved characters.")
