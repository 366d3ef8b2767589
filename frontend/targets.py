"""Where a form sends its person: to a page of this site that it may lead to, or elsewhere. Judges no address elsewhere.

Whoever sends somebody there has judged it.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme


class SeeOther(HttpResponseRedirect):
    """To an address elsewhere, which gets no form again (RFC 9700 section 4.12)."""

    status_code = 303

    def __init__(self, location: str) -> None:
        # A program's own scheme is none of Django's.
        self.allowed_schemes = [urlsplit(location).scheme]
        super().__init__(location)


def safe_target(request: HttpRequest, *, within: tuple[str, ...], otherwise: str) -> str:
    """What the request names as ``next`` where it is a path below one of ``within``, never an address elsewhere."""
    target = request.POST.get("next") or request.GET.get("next") or otherwise
    safe = url_has_allowed_host_and_scheme(
        target, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return target if safe and target.startswith(within) else otherwise
