"""Where a form sends its person afterwards: a page of this site, of those that the form may lead to. Sends nobody."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme


def safe_target(request: HttpRequest, *, within: tuple[str, ...], otherwise: str) -> str:
    """What the request names as ``next`` where it is a path below one of ``within``, never an address elsewhere."""
    target = request.POST.get("next") or request.GET.get("next") or otherwise
    safe = url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return target if safe and target.startswith(within) else otherwise
