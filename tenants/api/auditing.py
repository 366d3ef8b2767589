"""What an auditor needs and everybody may have: the public keys that sign checkpoints, and the verifiers."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from tenants.services.log_keys import public_keys

VERIFIERS: Final = ("verify_marina_log.py", "verify_marina_log.ts")


@require_safe
def log_keys(request: HttpRequest) -> JsonResponse:
    """``/.well-known/marina-log-keys``: all keys, the oldest first. None before the first checkpoint was made."""
    answer = JsonResponse({"keys": public_keys()}, json_dumps_params={"indent": 2})
    answer["Cache-Control"] = "public, max-age=60"
    return answer


@require_safe
def verifier(request: HttpRequest, name: str) -> HttpResponse:
    """``/verifiers/{name}``: one of the programs that check an export offline."""
    if name not in VERIFIERS:
        raise Http404
    answer = HttpResponse(
        files("tenants.verifiers").joinpath(name).read_bytes(), content_type="text/plain; charset=utf-8"
    )
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Cache-Control"] = "public, max-age=60"
    return answer
