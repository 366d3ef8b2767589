"""Pages of streams of the log: list, make, change, test, pause, deliver again, roll the secret, delete."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from core.errors import Conflict
from frontend.access import note_refusal, tenant_page
from frontend.confirm import confirmed
from frontend.forms.streams import KIND_WORDS, RollForm, StreamForm, form_of
from frontend.numbers import RECORD_DIGITS, read_number
from frontend.pages import form_status, fragment, page
from tenants.access import Caller
from tenants.models import LogStream, StreamDelivery
from tenants.roles import Action
from tenants.services.streams import (
    NOW,
    MadeStream,
    change_stream,
    create_stream,
    delete_stream,
    get_stream,
    list_deliveries,
    list_streams,
    pause_stream,
    redeliver,
    resume_stream,
    roll_secret,
    send_test,
)


@require_safe
@tenant_page(Action.AUDIT_READ)
def stream_list(request: HttpRequest, caller: Caller) -> HttpResponse:
    """Every stream, with how far it is and why it is not further."""
    context = {"rows": list_streams(caller=caller), "kinds": KIND_WORDS}
    return page(request, caller, "streams.html", "streams", context)


@sensitive_post_parameters("headers", "url")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.STREAMS_CHANGE)
def stream_new(request: HttpRequest, caller: Caller) -> HttpResponse:
    """The form for another stream and, once a webhook is made, the only sight of its secret."""
    asked = request.GET.get("to", "")
    kind = asked if asked in LogStream.Kind.values else LogStream.Kind.WEBHOOK.value
    form = form_of(kind)(request.POST or None)
    if request.method == "POST" and form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            begin = form.cleaned_data["begin"] or NOW
            made = create_stream(kind, form.given(), begin=begin, caller=caller)
            if made.secret:
                return _show_secret(request, caller, made)
            messages.success(request, f"{made.standing.row.name} gets the log. Send a test to see it arrive.")
            return redirect("frontend:stream", caller.tenant_slug, made.standing.row.pk)
    context = {"form": form, "to": kind, "kinds": KIND_WORDS}
    return page(request, caller, "stream_new.html", "streams", context, status=form_status(form))


@sensitive_post_parameters("headers", "url")
@require_http_methods(["GET", "HEAD", "POST"])
@tenant_page(Action.AUDIT_READ)
def stream_page(request: HttpRequest, caller: Caller, stream_id: UUID) -> HttpResponse:
    """One stream: its state and deliveries, changing it, and the danger zone."""
    row = get_stream(stream_id, caller=caller).row
    if request.method != "POST":
        return _stream_page(request, caller, stream_id)
    caller.require(Action.STREAMS_CHANGE)
    form = form_of(row.kind)(request.POST, row=row)
    if form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            change_stream(stream_id, form.given(), caller=caller)
            messages.success(request, "Saved. The next batch goes by it.")
            return redirect("frontend:stream", caller.tenant_slug, stream_id)
    return _stream_page(request, caller, stream_id, form=form)


@require_safe
@tenant_page(Action.AUDIT_READ)
def stream_part(request: HttpRequest, caller: Caller, stream_id: UUID) -> HttpResponse:
    """State and newest deliveries alone, asked for again while the page is open."""
    context = {
        "standing": get_stream(stream_id, caller=caller),
        "found": list_deliveries(stream_id, caller=caller),
    }
    return fragment(request, caller, "stream_state.html", context)


@require_POST
@tenant_page(Action.STREAMS_CHANGE)
def stream_test(request: HttpRequest, caller: Caller, stream_id: UUID) -> HttpResponse:
    """Send a test, and say what became of it."""
    _tell(request, "The test", send_test(stream_id, caller=caller))
    return redirect("frontend:stream", caller.tenant_slug, stream_id)


@require_POST
@tenant_page(Action.STREAMS_CHANGE)
def stream_pause(request: HttpRequest, caller: Caller, stream_id: UUID) -> HttpResponse:
    """Hand nothing over until it is resumed."""
    row = pause_stream(stream_id, caller=caller).row
    messages.success(request, f"{row.name} is paused. What comes meanwhile is kept for it.")
    return redirect("frontend:stream", caller.tenant_slug, stream_id)


@require_POST
@tenant_page(Action.STREAMS_CHANGE)
def stream_resume(request: HttpRequest, caller: Caller, stream_id: UUID) -> HttpResponse:
    """Go on, or try again now."""
    row = resume_stream(stream_id, caller=caller).row
    messages.success(request, f"{row.name} goes on with record {row.cursor + 1}.")
    return redirect("frontend:stream", caller.tenant_slug, stream_id)


@require_POST
@tenant_page(Action.STREAMS_CHANGE)
def stream_redeliver(
    request: HttpRequest, caller: Caller, stream_id: UUID, delivery_id: UUID
) -> HttpResponse:
    """Send the records of a delivery once more."""
    try:
        made = redeliver(stream_id, delivery_id, caller=caller)
    except Conflict as refusal:
        messages.error(request, refusal.message)
    else:
        _tell(request, f"Records {made.first} to {made.last}", made)
    return redirect("frontend:stream", caller.tenant_slug, stream_id)


@require_POST
@tenant_page(Action.STREAMS_CHANGE)
def stream_roll(request: HttpRequest, caller: Caller, stream_id: UUID) -> HttpResponse:
    """Sign with another secret, and show it this once."""
    get_stream(stream_id, caller=caller)
    form = RollForm(request.POST)
    if form.is_valid():
        with form.refusals(partial(note_refusal, request, caller)):
            made = roll_secret(stream_id, overlap_hours=form.cleaned_data["overlap_hours"], caller=caller)
            return _show_secret(request, caller, made)
    return _stream_page(request, caller, stream_id, roll=form)


@require_POST
@tenant_page(Action.STREAMS_CHANGE)
def stream_delete(request: HttpRequest, caller: Caller, stream_id: UUID) -> HttpResponse:
    """Delete a stream whose name was typed."""
    row = get_stream(stream_id, caller=caller).row
    if not confirmed(request, row.name):
        return redirect("frontend:stream", caller.tenant_slug, stream_id)
    delete_stream(stream_id, caller=caller)
    messages.success(request, f"{row.name} is deleted. It gets nothing any more.")
    return redirect("frontend:streams", caller.tenant_slug)


def _tell(request: HttpRequest, what: str, made: StreamDelivery) -> None:
    if made.taken:
        messages.success(request, f"{what}: taken. {made.words}".strip())
    else:
        messages.error(request, f"{what}: not taken, since {made.words}")


def _show_secret(request: HttpRequest, caller: Caller, made: MadeStream) -> HttpResponse:
    context = {"row": made.standing.row, "secret": made.secret}
    return page(request, caller, "stream_secret.html", "streams", context)


def _stream_page(
    request: HttpRequest,
    caller: Caller,
    stream_id: UUID,
    *,
    form: StreamForm | None = None,
    roll: RollForm | None = None,
) -> HttpResponse:
    standing = get_stream(stream_id, caller=caller)
    number = read_number(request.GET.get("before"), digits=RECORD_DIGITS)
    context = {
        "standing": standing,
        "row": standing.row,
        "found": list_deliveries(stream_id, before=number, caller=caller),
        "older": number is not None,
        "form": form or form_of(standing.row.kind)(row=standing.row),
        "roll": roll or RollForm(),
    }
    status = max(form_status(form), form_status(roll))
    return page(request, caller, "stream.html", "streams", context, status=status)
