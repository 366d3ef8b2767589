"""The page of a team's members: who is in it, with which role; for those who may, how that changes."""

from __future__ import annotations

from functools import partial

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from core.errors import Conflict, Forbidden, InvalidInput
from frontend.access import note_refusal, tenant_page
from frontend.forms.people import ROLE_WORDS, MemberForm
from frontend.pages import form_status, page
from tenants.access import Caller
from tenants.roles import Action
from tenants.services.members import (
    add_member,
    change_role,
    get_member,
    list_members,
    remove_member,
    roles_to_give,
)


@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.MEMBERS_READ)
def members(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The list, and a form to add somebody."""
    if request.method == "POST":
        caller.require(Action.MEMBERS_CHANGE)
    givable = roles_to_give(caller=caller)
    form = MemberForm(request.POST or None, offered=givable)
    if request.method == "POST" and form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            added = add_member(form.cleaned_data["email"], form.cleaned_data["role"], caller=caller)
            messages.success(request, _welcome(added.user.email, added.role))
            return redirect("frontend:members", caller.tenant_slug)
    context = {
        "form": form,
        "rows": [(member, member.role in givable) for member in list_members(caller=caller)],
        "roles": [role.value for role in givable],
        "role_words": [(role.value, words) for role, words in ROLE_WORDS.items()],
    }
    return page(request, caller, "members.html", "members", context, status=form_status(form))


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def member_role(request: HttpRequest, caller: Caller, membership_id: int) -> HttpResponse:
    """Give a member another role."""
    try:
        changed = change_role(membership_id, request.POST.get("role", ""), caller=caller)
        messages.success(request, f"{changed.user.email} is {changed.role} now.")
    except Forbidden as refusal:
        note_refusal(request, caller, refusal)
        messages.error(request, refusal.message)
    except (Conflict, InvalidInput) as fault:
        messages.error(request, fault.message)
    return redirect("frontend:members", caller.tenant_slug)


@require_POST
@tenant_page(Action.MEMBERS_CHANGE)
def member_remove(request: HttpRequest, caller: Caller, membership_id: int) -> HttpResponse:
    """End a membership."""
    email = get_member(membership_id, caller=caller).user.email
    try:
        remove_member(membership_id, caller=caller)
        messages.success(
            request, f"{email} is no longer a member. Keys that they made may do nothing any more."
        )
    except Forbidden as refusal:
        note_refusal(request, caller, refusal)
        messages.error(request, refusal.message)
    except Conflict as fault:
        messages.error(request, fault.message)
    return redirect("frontend:members", caller.tenant_slug)


def _welcome(email: str, role: str) -> str:
    """The same words whether the address had an account before or not: that is nobody else's business."""
    return (
        f"{email} is a member now, as {role}. If they have no password yet, the operator sets one with: "
        f"manage.py changepassword {email}"
    )
