"""Pages of secrets: list, name, see where one is used, replace, read again, delete. No page shows a value."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import Conflict
from frontend.access import tenant_page
from frontend.confirm import confirmed
from frontend.forms.named_secrets import WORDS, SecretForm
from frontend.pages import form_status, page
from servers.models import Secret
from servers.services.named_secrets import (
    create_secret,
    delete_secret,
    describe_origins,
    get_secret,
    list_secrets,
    read_again,
    replace_secret,
    where_read,
)
from tenants.access import Caller
from tenants.roles import Action

_SECTION = "secrets"


@require_safe
@tenant_page(Action.SECRETS_READ)
def secret_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every secret with its state and where it is used."""
    rows = [(row, WORDS[row.origin].partition(":")[0]) for row in list_secrets(caller=caller)]
    return page(request, caller, "secrets.html", _SECTION, {"rows": rows})


@sensitive_post_parameters("value")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SECRETS_CHANGE)
def secret_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for another secret."""
    form = SecretForm(request.POST or None, origins=describe_origins(caller=caller))
    if request.method == "POST" and form.is_valid():
        with form.refusals():
            row = create_secret(**form.given(), caller=caller)
            messages.success(request, f"{row.name} is kept. Choose it in the settings of a data source.")
            return redirect("frontend:secret", caller.tenant_slug, row.pk)
    return page(request, caller, "secret_new.html", _SECTION, {"form": form}, status=form_status(form))


@sensitive_post_parameters("value")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SECRETS_READ)
def secret_page(request: HttpRequest, caller: Caller, secret_id: UUID) -> HttpResponse:
    """One secret: its state, where it is used and, for admins, the form for another value."""
    row = get_secret(secret_id, caller=caller)
    form = None
    if caller.may(Action.SECRETS_CHANGE):
        origins = describe_origins(caller=caller, name=row.name)
        form = SecretForm(request.POST or None, origins=origins, row=row)
    if request.method == "POST":
        caller.require(Action.SECRETS_CHANGE)
        if form is not None and form.is_valid():
            with form.refusals():
                replaced = replace_secret(secret_id, **form.given(), caller=caller)
                messages.success(request, _replaced_words(replaced))
                return redirect("frontend:secret", caller.tenant_slug, secret_id)
    context = {
        "row": row,
        "form": form,
        "origin": WORDS[row.origin].partition(":")[0],
        "place": where_read(row, caller=caller),
        "delete_url": reverse("frontend:secret_delete", args=[caller.tenant_slug, row.pk]),
    }
    return page(request, caller, "secret.html", _SECTION, context, status=form_status(form))


@require_POST
@tenant_page(Action.SECRETS_CHANGE)
def secret_read(request: HttpRequest, caller: Caller, secret_id: UUID) -> HttpResponse:
    """Read a secret at its place now, and say how that went."""
    try:
        row = read_again(secret_id, caller=caller)
    except Conflict as fault:
        messages.error(request, fault.message)
    else:
        if row.state == Secret.State.READY:
            messages.success(request, f"{row.name} is read.")
        else:
            messages.error(request, f"{row.name} is {row.state}. {row.reason}.")
    return redirect("frontend:secret", caller.tenant_slug, secret_id)


@require_POST
@tenant_page(Action.SECRETS_CHANGE)
def secret_delete(request: HttpRequest, caller: Caller, secret_id: UUID) -> HttpResponse:
    """Delete a secret whose name was typed."""
    row = get_secret(secret_id, caller=caller)
    if not confirmed(request, row.name):
        return redirect("frontend:secret", caller.tenant_slug, secret_id)
    try:
        delete_secret(secret_id, caller=caller)
    except Conflict as fault:
        messages.error(request, f"Nothing was deleted. {fault.message}")
        return redirect("frontend:secret", caller.tenant_slug, secret_id)
    messages.success(request, f"The secret {row.name} is deleted.")
    return redirect("frontend:secrets", caller.tenant_slug)


def _replaced_words(row: Secret) -> str:
    users = sorted({use.source.name for use in row.uses.all()})
    if not users:
        return f"{row.name} is replaced."
    return f"{row.name} is replaced. Every process opens {', '.join(users[:5])} anew within seconds."
