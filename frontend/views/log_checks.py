"""The part of the log's page that says whether the log is what it was: checkpoints, where they are, "Verify now"."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from frontend.access import tenant_page
from frontend.pages import fragment, wants_fragment
from tenants.access import Caller
from tenants.checkpoint_tasks import enqueue_verification
from tenants.models import AuditVerification
from tenants.roles import Action
from tenants.services.publication import Standing, read_standing
from tenants.services.verifications import (
    describe_verification,
    list_verifications,
    start_verification,
)


@dataclass(frozen=True, slots=True)
class Checks:
    """What the part shows. ``words`` are about the newest verification."""

    standing: Standing
    newest: AuditVerification | None
    words: str

    @property
    def unfinished(self) -> bool:
        """Whether a worker is at it, or is to be."""
        return self.newest is not None and self.newest.status in {
            AuditVerification.Status.QUEUED,
            AuditVerification.Status.RUNNING,
        }


def read_checks(caller: Caller) -> Checks:
    """How the log stands."""
    newest = next(iter(list_verifications(caller=caller)), None)
    return Checks(
        read_standing(caller=caller), newest, "" if newest is None else describe_verification(newest)
    )


@require_safe
@tenant_page(Action.AUDIT_READ)
def checks(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The part alone, asked for again while a verification is unfinished."""
    return fragment(request, caller, "log_checks.html", {"checks": read_checks(caller)})


@require_POST
@tenant_page(Action.AUDIT_READ)
def verify(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Ask a worker to verify the log."""
    enqueue_verification(start_verification(caller=caller))
    if wants_fragment(request):
        return fragment(request, caller, "log_checks.html", {"checks": read_checks(caller)})
    return redirect("frontend:log", caller.tenant_slug)
