"""The page of a team's members: who is in it, with which role; for those who may, how that changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods, require_POST

from core.errors import Conflict, Forbidden, InvalidInput, RateLimited
from frontend.access import note_refusal, tenant_page
from frontend.confirm import confirmed
from frontend.forms.people import ROLE_WORDS, EndForm, HeirForm, MemberForm, end_of
from frontend.pages import form_status, page
from frontend.permissions import roles_table
from tenants.access import Caller
from tenants.models import Invitation, Membership
from tenants.roles import Action, Role
from tenants.services.invitations import (
    invite,
    list_invitations,
    resend_invitation,
    withdraw_invitation,
)
from tenants.services.members import (
    change_member,
    find_lacking,
    get_member,
    leave_tenant,
    list_members,
    remove_member,
    transfer_ownership,
)
from tenants.services.roster import roles_to_give
from tenants.services.teams import change_tenant, get_tenant


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.MEMBERS_READ)
def members(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The list, the invitations, and a form to invite somebody."""
    if request.method == "POST":
        caller.require(Action.MEMBERS_CHANGE)
    givable = roles_to_give(caller=caller)
    form = MemberForm(request.POST or None, offered=givable)
    if request.method == "POST" and form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            invitation = invite(
                form.cleaned_data["email"],
                form.cleaned_data["role"],
                access_ends_at=end_of(form.cleaned_data["last_day"]),
                caller=caller,
            )
            _tell_of_letter(request, invitation)
            return redirect("frontend:members", caller.tenant_slug)
    now = timezone.now()
    rows = list_members(caller=caller)
    heirs = _heirs(rows, caller)
    context = {
        "form": form,
        "rows": [(member, member.role in givable) for member in rows],
        "invitations": [
            (row, row.state(now), row.role in givable) for row in list_invitations(caller=caller)
        ],
        "ended": [member.pk for member in rows if not member.is_live(now)],
        "lacking": find_lacking(rows, caller=caller),
        "required": get_tenant(caller=caller).require_second_factor,
        "heir_form": HeirForm(members=heirs) if heirs else None,
        "roles": [role.value for role in givable],
        "role_words": [(role.value, words) for role, words in ROLE_WORDS.items()],
        "roles_table": roles_table(),
    }
    return page(request, caller, "members.html", "members", context, status=form_status(form))


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def member_role(request: HttpRequest, caller: Caller, membership_id: int) -> HttpResponse:
    """Give a member another role."""
    with _refusals(request, caller):
        changed = change_member(membership_id, role=request.POST.get("role", ""), caller=caller)
        messages.success(request, f"{changed.user.email} is {changed.role} now.")
    return redirect("frontend:members", caller.tenant_slug)


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def member_end(request: HttpRequest, caller: Caller, membership_id: int) -> HttpResponse:
    """Give a member's access an end, another one, or none."""
    form = EndForm(request.POST)
    if not form.is_valid():
        email = get_member(membership_id, caller=caller).user.email
        messages.error(request, f"The access of {email} stays as it was: choose a day, or none.")
        return redirect("frontend:members", caller.tenant_slug)
    last_day = form.cleaned_data["last_day"]
    with _refusals(request, caller):
        changed = change_member(membership_id, access_ends_at=end_of(last_day), caller=caller)
        words = "has no end" if last_day is None else f"ends after {last_day:%d %b %Y} (UTC)"
        messages.success(request, f"The access of {changed.user.email} {words}.")
    return redirect("frontend:members", caller.tenant_slug)


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def member_payloads(request: HttpRequest, caller: Caller, membership_id: int) -> HttpResponse:
    """Let an auditor see what calls were given and gave, or no longer."""
    with _refusals(request, caller):
        shown = request.POST.get("payloads") == "on"
        changed = change_member(membership_id, payloads=shown, caller=caller)
        words = "sees" if shown else "does not see"
        messages.success(request, f"{changed.user.email} {words} what calls were given and gave.")
    return redirect("frontend:members", caller.tenant_slug)


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def member_remove(request: HttpRequest, caller: Caller, membership_id: int) -> HttpResponse:
    """End a membership."""
    with _refusals(request, caller):
        removed = remove_member(membership_id, caller=caller)
        messages.success(
            request,
            f"{removed.user.email} is no longer a member. Keys that they made may do nothing until somebody rolls "
            "them.",
        )
    return redirect("frontend:members", caller.tenant_slug)


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def invitation_resend(request: HttpRequest, caller: Caller, invitation_id: UUID) -> HttpResponse:
    """Mail an invitation again, with a new link."""
    with _refusals(request, caller):
        _tell_of_letter(request, resend_invitation(invitation_id, caller=caller))
    return redirect("frontend:members", caller.tenant_slug)


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def invitation_withdraw(request: HttpRequest, caller: Caller, invitation_id: UUID) -> HttpResponse:
    """Withdraw an invitation."""
    with _refusals(request, caller):
        withdrawn = withdraw_invitation(invitation_id, caller=caller)
        messages.success(
            request, f"The invitation of {withdrawn.email} is withdrawn. Its link opens nothing."
        )
    return redirect("frontend:members", caller.tenant_slug)


@require_POST
@tenant_page(Action.TENANT_CHANGE)
def second_factor(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Require a second factor of the whole team, or no more."""
    wanted = request.POST.get("required") == "on"
    with _refusals(request, caller):
        change_tenant(require_second_factor=wanted, caller=caller)
        words = (
            "Members without a second factor get in once they have one."
            if wanted
            else "None is required now."
        )
        messages.success(request, words)
    return redirect("frontend:members", caller.tenant_slug)


@require_POST
@tenant_page(Action.TENANT_CHANGE)
def transfer(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Hand the team over to the chosen member, once its slug was typed."""
    form = HeirForm(request.POST, members=_heirs(list_members(caller=caller), caller))
    if not form.is_valid():
        messages.error(request, "The team was not handed over: choose a member of it.")
    elif confirmed(request, caller.tenant_slug, nothing="The team was not handed over"):
        with _refusals(request, caller):
            heir = transfer_ownership(form.cleaned_data["member"], caller=caller)
            messages.success(request, f"{heir.user.email} owns the team now, and you are an admin of it.")
    return redirect("frontend:members", caller.tenant_slug)


@require_POST
@tenant_page()
def leave(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Leave the team, once its slug was typed. Where that cannot be, back to where the form was."""
    back = "frontend:members" if caller.may(Action.MEMBERS_READ) else "frontend:overview"
    if confirmed(request, caller.tenant_slug, nothing="You are still a member"):
        with _refusals(request, caller):
            leave_tenant(caller=caller)
            messages.success(request, f"You have left the team {caller.tenant_slug}.")
            return redirect("frontend:home")
    return redirect(back, caller.tenant_slug)


@contextmanager
def _refusals(request: HttpRequest, caller: Caller) -> Iterator[None]:
    """Say on the next page what the service inside refuses, and why."""
    try:
        yield
    except Forbidden as refusal:
        note_refusal(request, caller, refusal)
        messages.error(request, refusal.message)
    except (Conflict, InvalidInput, RateLimited) as fault:
        words = fault.message
        if fault.code == "second_factor_required":
            account = reverse("frontend:account")
            words = format_html('{} <a href="{}#second-factor">Your second factor</a>', words, account)
        messages.error(request, words)


def _heirs(rows: list[Membership], caller: Caller) -> list[Membership]:
    """Whom the caller, an owner, may hand the team over to."""
    if caller.role is not Role.OWNER:
        return []
    return [row for row in rows if row.user_id != caller.user_id and row.ends_at is None]


def _tell_of_letter(request: HttpRequest, invitation: Invitation) -> None:
    """The same words whether the address had an account before or not: that is nobody else's business."""
    if invitation.sent_at is not None:
        messages.success(request, f"An invitation is on its way to {invitation.email}, as {invitation.role}.")
    else:
        messages.warning(
            request,
            f"{invitation.email} is invited, but the mail server did not take the letter. Tell the operator, then "
            "send the invitation again.",
        )
