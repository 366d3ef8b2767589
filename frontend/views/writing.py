"""What the pages of prompts and of resources do alike: list, show, switch, write and delete. Routes none itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from core.errors import InvalidInput, MarinaError
from frontend.confirm import confirmed
from frontend.forms.writing import WritingForm
from frontend.listing import filtered_list, offering_servers
from frontend.pages import form_status, fragment, page
from frontend.switch import switched, turned_on
from servers.execution.contract import Outcome
from servers.models import Prompt, Resource
from servers.services.handmade import find_faults
from servers.services.servers import list_servers
from servers.services.tools import is_published, list_tools
from tenants.access import Caller

Row = TypeVar("Row", Resource, Prompt)
Given_co = TypeVar("Given_co", Resource, Prompt, covariant=True)


class Find(Protocol[Given_co]):
    """A service that gives one by its id."""

    def __call__(self, row_id: UUID, /, *, caller: Caller) -> Given_co: ...


class Switch(Protocol[Given_co]):
    """A service that offers one, or takes it off every server."""

    def __call__(self, row_id: UUID, enabled: bool, /, *, caller: Caller) -> Given_co: ...


class Create(Protocol[Given_co]):
    """A service that makes one of a definition."""

    def __call__(self, definition: Mapping[str, Any], /, *, caller: Caller) -> Given_co: ...


class Change(Protocol[Given_co]):
    """A service that changes one by a definition."""

    def __call__(self, row_id: UUID, definition: Mapping[str, Any], /, *, caller: Caller) -> Given_co: ...


class Delete(Protocol):
    """A service that deletes one."""

    def __call__(self, row_id: UUID, /, *, caller: Caller) -> None: ...


@dataclass(frozen=True, slots=True)
class Input:
    """A text that trying one takes. ``name`` is its control's."""

    name: str
    label: str
    value: str = ""
    required: bool = False
    help: str = ""


@dataclass(frozen=True, slots=True)
class Pages(Generic[Row]):
    """The pages of one sort. ``noun`` is in the names of its templates and routes; ``name`` is what a row goes by."""

    noun: str
    form: type[WritingForm]
    name: Callable[[Row], str]
    texts: Callable[[Row], Iterable[str]]
    find: Find[Row]
    set_enabled: Switch[Row]
    create: Create[Row]
    change: Change[Row]
    remove: Delete
    definition: Callable[[Row], dict[str, Any]]
    inputs: Callable[[Row], list[Input]]

    def listing(self, request: HttpRequest, caller: Caller, rows: Sequence[Row]) -> HttpResponse:
        """Every row that the filter leaves, grouped by its data source."""
        context = filtered_list(request.GET.get("q", ""), rows, self.texts)
        context["switch_route"] = f"frontend:{self.noun}_enabled"
        return self._page(request, caller, f"{self.noun}s.html", context)

    def show(self, request: HttpRequest, caller: Caller, row_id: UUID) -> HttpResponse:
        """One row: what clients are told of it, and who offers it."""
        row = self.find(row_id, caller=caller)
        context = {
            self.noun: row,
            "servers": offering_servers(list_servers(caller=caller), row.source_id),
            "definition": self.definition(row),
            "faults": find_faults(row),
            "inputs": self.inputs(row),
            "try_url": reverse(f"frontend:{self.noun}_try", args=[caller.tenant_slug, row.id]),
            "delete_url": reverse(f"frontend:{self.noun}_delete", args=[caller.tenant_slug, row.id]),
        }
        return self._page(request, caller, f"{self.noun}.html", context)

    def try_it(
        self, request: HttpRequest, caller: Caller, row_id: UUID, run: Callable[[Row], Outcome]
    ) -> HttpResponse:
        """Read or get one as the person, by the one decision path, and show what came back."""
        row = self.find(row_id, caller=caller)
        context: dict[str, Any] = {"request_id": getattr(request, "request_id", "")}
        try:
            context["parts"] = list(map(_shown, run(row).content or ()))
        except MarinaError as error:
            context["refusal"] = error
        return fragment(request, caller, "read_result.html", context)

    def switch(self, request: HttpRequest, caller: Caller, row_id: UUID) -> HttpResponse:
        """Offer a row or take it off every server; then back to where the switch was."""
        row = self.set_enabled(row_id, turned_on(request), caller=caller)
        return switched(request, caller, self.name(row), row_id, page=self.noun, listing=f"{self.noun}s")

    def write_new(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        """The form for one of the team's own."""
        form = self.form(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            with form.refusals():
                row = self.create(form.definition(), caller=caller)
                messages.success(request, f"{self.name(row)} is offered now.")
                return self._to(caller, row)
        return self._form(request, caller, form, {})

    def write_change(self, request: HttpRequest, caller: Caller, row_id: UUID) -> HttpResponse:
        """The form to change one of the team's own."""
        row = self.find(row_id, caller=caller)
        if row.brought:
            raise InvalidInput(
                f"This {self.noun} came with its data source and cannot be changed. Make one of your own."
            )
        form = self.form(request.POST or None, request.FILES or None, stored=self.definition(row))
        if request.method == "POST" and form.is_valid():
            with form.refusals():
                row = self.change(row_id, form.definition(), caller=caller)
                messages.success(request, f"{self.name(row)} is saved.")
                return self._to(caller, row)
        return self._form(request, caller, form, {self.noun: row})

    def delete(self, request: HttpRequest, caller: Caller, row_id: UUID) -> HttpResponse:
        """Delete one of the team's own whose name was typed."""
        row = self.find(row_id, caller=caller)
        if not confirmed(request, self.name(row)):
            return self._to(caller, row)
        self.remove(row_id, caller=caller)
        messages.success(request, f"{self.name(row)} is deleted.")
        return redirect(f"frontend:{self.noun}s", caller.tenant_slug)

    def _form(
        self, request: HttpRequest, caller: Caller, form: WritingForm, context: Mapping[str, Any]
    ) -> HttpResponse:
        template = f"{self.noun}_form.html"
        context = {**context, "form": form, "reading_tools": _reading_tools(caller)}
        return self._page(request, caller, template, context, status=form_status(form))

    def _page(
        self,
        request: HttpRequest,
        caller: Caller,
        template: str,
        context: Mapping[str, Any],
        *,
        status: int = 200,
    ) -> HttpResponse:
        return page(request, caller, template, f"{self.noun}s", context, status=status)

    def _to(self, caller: Caller, row: Row) -> HttpResponse:
        return redirect(f"frontend:{self.noun}", caller.tenant_slug, row.id)


def _reading_tools(caller: Caller) -> list[tuple[str, list[str]]]:
    """The tools that may fill something, each with the names of its arguments."""
    versions = [
        (tool.name, tool.current)
        for tool in list_tools(caller=caller)
        if tool.current is not None and is_published(tool.current)
    ]
    return [
        (name, list(version.input_schema.get("properties", {})))
        for name, version in versions
        if version.annotations.get("readOnlyHint") is True
    ]


def _shown(part: Mapping[str, Any]) -> dict[str, str]:
    """One content of a resource, or message of a prompt: what it is, and its text."""
    content = part.get("content", part)
    held = content.get("resource", content)
    words = [str(part.get("role", "")), str(held.get("uri", "")), str(held.get("mimeType", ""))]
    text = held.get("text")
    if text is None:
        text = f"{len(held.get('blob', held.get('data', '')))} characters of base64"
    return {"head": " · ".join(filter(None, words)), "text": text}
