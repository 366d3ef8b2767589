"""The faults of connecting clients in plain words: what is wrong, and what whoever can mend it does next. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Fault:
    """``developer`` is for whoever writes or configures the client, ``admin`` for whoever looks after the team."""

    title: str
    wrong: str
    developer: str
    admin: str


_NOTHING_HERE: Final = "Nothing is wrong with the team. Tell the client's makers what stands here."

FAULTS: Final[dict[str, Fault]] = {
    # Discovery
    "discovery_stopped": Fault(
        "The client stopped at the challenge",
        "It was told with a 401 where to learn who issues tokens, and never asked there.",
        "Read resource_metadata from the WWW-Authenticate header of the 401 and fetch it (RFC 9728 section 5.1).",
        "Either the client knows no OAuth: give it an API key. Or a proxy before Marina drops the header: run the "
        "self-test.",
    ),
    "well_known_path": Fault(
        "The server's metadata was looked for at a wrong address",
        "The client asked at {path}, where there is nothing, and never at the address that the 401 names.",
        "The well-known name goes between the host and the path of the MCP URL: "
        "/.well-known/oauth-protected-resource/mcp/<team>. Best take the address from the 401 itself.",
        "Update the client. If it is not asked at all at the right address, run the self-test: a proxy may eat it.",
    ),
    "issuer_metadata_missed": Fault(
        "The client asked another issuer than the server's",
        "It looked for the issuer's metadata at {path}, and never where the server's own metadata says.",
        "Take authorization_servers from the server's metadata, and insert the well-known name before the path of that "
        "issuer: /.well-known/oauth-authorization-server/oauth/<team> (RFC 8414 section 3.1).",
        "If an issuer is entered in the client by hand, enter this team's. Each team is an issuer of its own.",
    ),
    "issuer_not_asked": Fault(
        "The client never asked the issuer",
        "It read which issuer the server trusts, and asked nothing there: it may have gone to another one.",
        "Fetch the metadata of the issuer that authorization_servers names, and use the endpoints in it.",
        "Remove any issuer that is entered in the client by hand. If there is none, run the self-test.",
    ),
    "issuer_of_another_team": Fault(
        "The client came to the wrong team's issuer",
        "It asked this team's issuer for a token for {resource}, which is another team's.",
        "Use the issuer that the metadata of that server names; nothing may be kept from one server for another.",
        "Enter the URL of this team's server in the client, or let it begin anew with the other team's.",
    ),
    "server_unknown": Fault(
        "There can be no server of that name",
        "The client asked for the metadata of a server whose name none can have.",
        "Use the MCP URL as the dashboard shows it.",
        "Copy the server's URL from Connect once more.",
    ),
    "issuer_read_only": Fault(
        "The client read the metadata and went no further",
        "It neither registered nor sent anybody to the authorization endpoint.",
        "Register at registration_endpoint, use a client_id metadata document, or bring a client_id that the team "
        "gave you; then open the browser.",
        "A client that takes a client id by hand needs one; most register by themselves.",
    ),
    # Registration
    "registration_redirect_uri": Fault(
        "The registration was refused for a redirect URI",
        "Marina answered: {told} The client sent {redirect_uris}.",
        "Register https addresses, http to 127.0.0.1, [::1] or localhost, or a scheme of your own with a dot in it, "
        "such as com.example.app.",
        "If the client has a scheme of its own, such as cursor, the operator can let it through "
        "(MARINA_REDIRECT_SCHEMES). Or give the client an API key.",
    ),
    "registration_metadata": Fault(
        "The registration was refused for what it says",
        "Marina answered: {told}",
        "Send a JSON object as RFC 7591 has it, with grant_types authorization_code and response_types code.",
        _NOTHING_HERE,
    ),
    "registration_quota": Fault(
        "Too many registrations",
        "Marina answered: {told}",
        "Keep the client_id that you got, and use it again. Register once, not at each start.",
        "Wait an hour. Registrations that nobody consented to end after a day.",
    ),
    "registered_only": Fault(
        "The client registered and opened no browser",
        "It has a client id since then, and nobody came to the authorization endpoint with it.",
        "Send the person's browser to authorization_endpoint. On a machine without one, show the address.",
        "Look at the client: it may show an address to open.",
    ),
    # The client
    "client_unknown": Fault(
        "The client id is not known to this team",
        "The client came with an id that this team has not, or has no more: registrations that nobody consents to "
        "end after a day, and admins can shut clients out.",
        "When the id is not known, forget it and register again. An id is good at the issuer that gave it alone.",
        "Remove the connection in the client and make it anew. Look under Connected apps whether it was shut out.",
    ),
    "client_document_unreachable": Fault(
        "The client's document could not be fetched",
        "Marina answered: {told}",
        "Serve the document at the client_id itself: https, status 200, no redirect, at most 16 KiB within 5 seconds, "
        "at a public address.",
        "Marina has to be allowed to connect out to the client's address. If it is, the client's makers mend it.",
    ),
    "client_document_wrong": Fault(
        "The client's document does not fit",
        "Marina answered: {told}",
        "The document is JSON, its client_id is letter for letter its own address, and it lists redirect_uris.",
        _NOTHING_HERE,
    ),
    # Authorization
    "redirect_uri_unregistered": Fault(
        "The redirect URI is none that the client registered",
        "The client wants the browser sent back to {redirect_uri}, which it did not register.",
        "Register every redirect URI, and send one of them letter for letter. Of a loopback address only the port may "
        "differ.",
        "Nobody is sent to an address that is not registered. Remove the connection in the client and make it anew.",
    ),
    "pkce_missing": Fault(
        "PKCE is missing, or is not S256",
        "The authorization request had {pkce}.",
        "Send code_challenge, the SHA-256 of a fresh verifier in base64url, with code_challenge_method=S256.",
        "The client is too old for OAuth 2.1: update it.",
    ),
    "resource_missing": Fault(
        "The request names no resource",
        "Marina has to know which server the token is for, and the {kind} request did not say.",
        "Send resource with the MCP URL, as the server's metadata writes it, in authorization and token requests "
        "alike (RFC 8707).",
        "The client is older than MCP's revision of June 2025: update it.",
    ),
    "resource_twice": Fault(
        "The request names more than one resource",
        "The {kind} request asked for {resource}; a token is for one server.",
        "Send resource exactly once. Ask for a token for each server.",
        _NOTHING_HERE,
    ),
    "resource_wrong": Fault(
        "The resource is not a server of this team",
        "The {kind} request asked for {resource}. The server's address is {expected}.",
        "Send the resource of the server's metadata letter for letter: no slash at the end, no query, same scheme and "
        "host.",
        "Compare the URL in the client with the one under Connect. If scheme or host differ, run the self-test.",
    ),
    "resource_changed": Fault(
        "The token request names another resource than was agreed to",
        "The member agreed to one server, and the client asked for a token for {resource}.",
        "Send the same resource in the token request as in the authorization request.",
        _NOTHING_HERE,
    ),
    "server_not_there": Fault(
        "The team has no such server",
        "The request asked for {resource}, which the team has not, or the member may not see.",
        "Use the MCP URL as the dashboard shows it.",
        "See under Servers whether there is one of this name. Auditors may use none.",
    ),
    "scope_unknown": Fault(
        "A scope is not offered",
        "The client asked for: {scope}.",
        "Ask for scopes of scopes_supported only, or send no scope at all.",
        "If scopes are entered in the client by hand, leave them empty.",
    ),
    "scope_none": Fault(
        "The member's role allows none of the scopes",
        "{member} may do nothing of what the client asked for: {scope}.",
        _NOTHING_HERE,
        "Change the member's role, or have somebody connect whose role allows it.",
    ),
    "response_type": Fault(
        "The client asks for an answer that OAuth 2.1 has not",
        "Marina answered: {told}",
        "Use response_type=code, in the query, with its parameters in the address.",
        "The client is too old: update it.",
    ),
    "authorization_refused": Fault(
        "The authorization request was refused",
        "Marina answered: {told}",
        "Mend the request as the answer says.",
        _NOTHING_HERE,
    ),
    "not_a_member": Fault(
        "Who signed in is not in this team",
        "Somebody signed in and is no member of this team, so there was nothing to agree to.",
        _NOTHING_HERE,
        "Invite the person, or have them sign in with the account that is a member.",
    ),
    # Consent
    "sign_in_unfinished": Fault(
        "Nobody signed in",
        "The browser was sent to the sign-in page, and did not come back from there.",
        "Open the address in the person's own browser, not in one without its cookies.",
        "Have the member try again. Whoever has no account is invited under Members.",
    ),
    "consent_unfinished": Fault(
        "Nobody answered the consent page",
        "The page was shown to {member}, and neither button was pressed.",
        "Wait for the redirect as long as the person takes; the page is good for ten minutes.",
        "Have the member begin again in the client and press Allow.",
    ),
    "consent_denied": Fault(
        "The member refused",
        "{member} pressed Refuse.",
        "Tell the person that they refused, and ask again only when they want it.",
        "If it was a mistake, have the member begin again in the client.",
    ),
    "nothing_ticked": Fault(
        "No right was left ticked",
        "{member} agreed, and had unticked every right.",
        _NOTHING_HERE,
        "Have the member leave at least one right ticked.",
    ),
    "consent_elsewhere": Fault(
        "The consent was answered in another browser, twice, or too late",
        "The page counts once, for ten minutes, in the browser session that opened it.",
        "Send the person through the authorization endpoint again.",
        "Have the member begin again in the client, and stay in that browser.",
    ),
    # Tokens
    "code_not_redeemed": Fault(
        "The code was never exchanged",
        "{member} agreed and the browser was sent to {redirect_uri}; no token request came.",
        "See that something listens at the redirect URI. From a container or another machine, 127.0.0.1 is another "
        "place than the browser's. Check state and iss, then ask the token endpoint.",
        "The client has to run where the browser does, or have a public redirect URI.",
    ),
    "code_expired": Fault(
        "The code had expired",
        "A code is good for a minute; this one came later.",
        "Exchange the code at once. If you do, look at how long the redirect takes to reach you.",
        "Have the member begin again in the client.",
    ),
    "code_replayed": Fault(
        "The code was used twice",
        "It was exchanged already. For fear that somebody else has it, everything that came of it has ended.",
        "Exchange a code once; do not repeat a token request that was answered. Handle the redirect once.",
        "Have the member begin again. If nobody can say why it happened, treat it as a theft of the code.",
    ),
    "code_unknown": Fault(
        "The code is not known",
        "The client sent a code that this issuer never gave to it.",
        "Send code as it came, decoded once, to the token endpoint of the issuer that iss names.",
        "Have the member begin again in the client.",
    ),
    "verifier_wrong": Fault(
        "The PKCE verifier does not fit",
        "The code is sound, and its code_verifier is missing or is not that of the code_challenge.",
        "Keep the verifier of this very request, and send it as it is: 43 to 128 characters, not its hash. A client "
        "that begins twice must not mix the two.",
        "Have the member begin again, in one window only.",
    ),
    "redirect_uri_changed": Fault(
        "The token request has another redirect URI",
        "The redirect_uri of the token request is not that of the authorization request.",
        "Send the same redirect_uri both times, the port included.",
        _NOTHING_HERE,
    ),
    "client_secret_wrong": Fault(
        "The client did not prove who it is",
        "Client {client_id} is known, and its secret is wrong, missing, or was sent in a way that it did not register.",
        "Use the client_secret of this registration, in the Authorization header (Basic) or in the body. A client "
        "without a secret sends its client_id in the body.",
        "Make the service client anew if its secret is lost. If the secret is right, run the self-test: a proxy may "
        "drop the Authorization header.",
    ),
    "grant_not_offered": Fault(
        "The grant is not offered",
        "Marina answered: {told}",
        "Use authorization_code, refresh_token or client_credentials; the last is for service clients alone.",
        "A service client is made under Connected apps.",
    ),
    "refresh_replayed": Fault(
        "A refresh token was used twice",
        "It had been replaced. For fear that somebody else has it, everything that came of its consent has ended.",
        "Keep the newest refresh token before anything else, and let one refresh run at a time: parallel ones look "
        "like a theft.",
        "Have the member connect the client again. Two copies of a client that share one sign-in end each other.",
    ),
    "refresh_unknown": Fault(
        "The refresh token is not known",
        "It was never given to this client, or its time was over.",
        "Authorize again. Send the refresh token as it came, with the client_id that it was given to.",
        "Have the member connect the client again.",
    ),
    "authorization_ended": Fault(
        "What the member agreed to has ended",
        "It was disconnected, or ended with a code or refresh token that came twice, or nobody came for 30 days.",
        "Authorize again, when the person wants it.",
        "Look into the log for oauth.revoked, and have the member connect the client again.",
    ),
    "rights_gone": Fault(
        "The member may not do this any more",
        "The member's role has changed, or they have left, since they agreed.",
        "Authorize again, as somebody who may.",
        "Look at the member's role under Members.",
    ),
    "token_refused": Fault(
        "The token request was refused",
        "Marina answered: {told}",
        "Mend the request as the answer says: a form in the body, each parameter once.",
        _NOTHING_HERE,
    ),
    "token_not_used": Fault(
        "The client has a token and does not use it",
        "It was given, and no request came with it.",
        "Send it in the header Authorization: Bearer <token> of every request to the MCP URL.",
        "A proxy may drop the Authorization header on the way to /mcp: run the self-test.",
    ),
    # Calls
    "token_audience": Fault(
        "The token is for another server",
        "It was used at {path}, and was given for another server of the team.",
        "Keep tokens by resource. At another MCP URL, begin with its 401.",
        "Connect the client to each server by itself.",
    ),
    "token_in_query": Fault(
        "The token was sent in the address",
        "Addresses end up in logs, so a token in one counts for nothing.",
        "Send the header Authorization: Bearer <token>, in every request.",
        "Update the client; and disconnect it under Connected apps, for its token may stand in a proxy's log.",
    ),
    "token_expired": Fault(
        "The token's hour was over",
        "An access token was used after its time, and was not refreshed.",
        "Refresh when expires_in is nearly over, or on this 401. Count from when the token came, and do not trust a "
        "clock that may be wrong.",
        "Check the clock of the machine that the client runs on. Then have the client connect again.",
    ),
    "token_ended": Fault(
        "The token is not good any more",
        "It was replaced by a refresh, disconnected, or belongs to another team.",
        "Use the newest access token. On this 401, refresh once; if that fails, authorize again.",
        "See under Connected apps whether the client is still there, and connect it again.",
    ),
    "refresh_token_as_access": Fault(
        "A refresh token was sent where an access token belongs",
        "It opens nothing but the token endpoint.",
        "Send access_token of the token answer to the MCP URL, and refresh_token to the token endpoint alone.",
        _NOTHING_HERE,
    ),
    "foreign_token": Fault(
        "The token is of another issuer",
        "The client sent a token that this team's issuer did not make.",
        "Get the token from the issuer that the server's metadata names.",
        "Remove any token that is entered in the client by hand.",
    ),
    "insufficient_scope": Fault(
        "The token lacks a scope, and the client did not ask for it",
        "The request needs {needed}.",
        "On a 403 with insufficient_scope, send the person through the authorization endpoint again with the scope "
        "of the challenge.",
        "Have the member connect the client again, and leave the right ticked.",
    ),
}
