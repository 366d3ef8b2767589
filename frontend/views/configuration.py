"""The page of a team's configuration as a file: download, give one, look at the plan, apply it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from frontend.access import note_refusal, tenant_page
from frontend.forms.configuration import ConfigurationForm
from frontend.pages import form_status, fragment, page
from servers.services.configuration.changes import Plan
from servers.services.configuration.exporting import export_configuration, name_file
from servers.services.configuration.importing import apply_configuration, plan_configuration
from servers.services.configuration.rendering import render_field
from tenants.access import Caller
from tenants.roles import Action


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.SOURCES_READ)
def configuration(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The page; to send its form applies the file."""
    form = ConfigurationForm(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        caller.require(Action.SOURCES_CHANGE)
        if form.is_valid() and not form.cleaned_data["fingerprint"]:
            form.add_error(None, "Nothing was changed. Show the plan first, then apply it.")
        elif form.is_valid():
            with form.refusals(lambda refusal: note_refusal(request, caller, refusal)):
                done = apply_configuration(
                    form.file(),
                    prune=form.cleaned_data["prune"],
                    secrets=form.secrets(),
                    fingerprint=form.cleaned_data["fingerprint"],
                    caller=caller,
                )
                messages.success(request, f"The file is applied: {done.summary}")
                return redirect("frontend:configuration", caller.tenant_slug)
    context = {"form": form, "file_name": name_file(caller.tenant_slug)}
    return page(request, caller, "configuration.html", "configuration", context, status=form_status(form))


@require_safe
@tenant_page(Action.SOURCES_READ)
def configuration_download(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The file."""
    response = HttpResponse(
        export_configuration(caller=caller), content_type="application/yaml; charset=utf-8"
    )
    response["Content-Disposition"] = f'attachment; filename="{name_file(caller.tenant_slug)}"'
    return response


@require_POST
@tenant_page(Action.SOURCES_CHANGE)
def configuration_kept(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The fields of what the file in the form leaves out."""
    return fragment(request, caller, "configuration_kept.html", {"form": ConfigurationForm(request.POST)})


@sensitive_post_parameters()
@require_POST
@tenant_page(Action.SOURCES_CHANGE)
def configuration_plan(request: HttpRequest, caller: Caller) -> HttpResponse:
    """What applying the file in the form would change, with the button that applies it. Saves nothing."""
    form = ConfigurationForm(request.POST)
    plans: list[Plan] = []
    if form.is_valid():
        with form.refusals(lambda refusal: note_refusal(request, caller, refusal)):
            plans.append(
                plan_configuration(
                    form.file(), prune=form.cleaned_data["prune"], secrets=form.secrets(), caller=caller
                )
            )
    changes = [
        (
            change,
            []
            if change.action == "delete"
            else [line for each in change.fields for line in render_field(each)],
        )
        for plan in plans
        for change in plan.changes
    ]
    context = {"form": form, "plan": plans[0] if plans else None, "changes": changes}
    return fragment(request, caller, "configuration_plan.html", context)
