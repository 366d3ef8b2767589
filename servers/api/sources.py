"""REST: data sources and their tests. Parses, calls one service, answers."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from servers.api.offerings import OfferingSerializer
from servers.api.serializers import (
    DraftInput,
    DraftSerializer,
    HealthSerializer,
    HostedSourceSerializer,
    PlanInput,
    PlanSerializer,
    QuarantinedList,
    QuarantinedSerializer,
    RefreshedSerializer,
    RefreshInput,
    SettingsInput,
    SlowStatementList,
    SlowStatementSerializer,
    SourceChange,
    SourceInput,
    SourceList,
    SourceSerializer,
)
from servers.services import previews, sources
from servers.services.hosted_runs import show_hosted
from servers.services.offerings import Refreshed
from servers.services.plans import explain_tool
from servers.services.quarantine import list_quarantined
from servers.services.source_checks import test_source
from tenants.api.base import TenantView, results, uuid_of
from tenants.api.problems import problems

_TAGS = ["data-sources"]


class SourcesView(TenantView):
    """The data sources of a team."""

    @extend_schema(operation_id="list_data_sources", responses={200: SourceList, **problems()}, tags=_TAGS)
    def get(self, request: Request, tenant: str) -> Response:
        """List the data sources with their health."""
        return results(SourceSerializer(sources.list_sources(caller=self.caller), many=True).data)

    @extend_schema(
        operation_id="create_data_source",
        request=SourceInput,
        responses={201: SourceSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Connect a data source; the tools that come with its kind are made at once."""
        created = sources.create_source(**self.read_input(SourceInput), caller=self.caller)
        return Response(SourceSerializer(created).data, status=201)


class SourceView(TenantView):
    """One data source."""

    @extend_schema(
        operation_id="get_data_source", responses={200: SourceSerializer, **problems()}, tags=_TAGS
    )
    def get(self, request: Request, tenant: str, source: str) -> Response:
        """Read a data source, without its secrets."""
        return Response(SourceSerializer(sources.get_source(uuid_of(source), caller=self.caller)).data)

    @extend_schema(
        operation_id="update_data_source",
        request=SourceChange,
        responses={200: SourceSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def patch(self, request: Request, tenant: str, source: str) -> Response:
        """Rename a data source, or replace its settings."""
        given = self.read_input(SourceChange)
        changed = sources.update_source(uuid_of(source), **given, caller=self.caller)
        return Response(SourceSerializer(changed).data)

    @extend_schema(operation_id="delete_data_source", responses={204: None, **problems(409)}, tags=_TAGS)
    def delete(self, request: Request, tenant: str, source: str) -> Response:
        """Delete a data source that nothing uses, with the tools that came with it."""
        sources.delete_source(uuid_of(source), caller=self.caller)
        return Response(status=204)


class SourceTestView(TenantView):
    """A test of one stored data source."""

    @extend_schema(
        operation_id="test_data_source",
        request=None,
        responses={200: HealthSerializer, **problems()},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, source: str) -> Response:
        """Connect now and say what is wrong. The answer is 200 also when the source is not healthy."""
        return Response(HealthSerializer(test_source(uuid_of(source), caller=self.caller)).data)


class SourceRefreshView(TenantView):
    """Takes over what a data source brings now."""

    @extend_schema(
        operation_id="refresh_data_source",
        request=RefreshInput,
        responses={200: RefreshedSerializer, **problems(400, 409, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, source: str) -> Response:
        """Add what is new, renew what changed, remove what is gone. Nothing of this happens by itself."""
        given = self.read_input(RefreshInput)
        document = given.get("document")
        if given["preview"]:
            found = sources.preview_refresh(uuid_of(source), document=document, caller=self.caller)
            return Response(RefreshedSerializer(Refreshed(differences=found.differences)).data)
        done = sources.refresh_source(
            uuid_of(source), document=document, fingerprint=given.get("fingerprint"), caller=self.caller
        )
        return Response(RefreshedSerializer(done).data)


class SourceQuarantineView(TenantView):
    """What of a data source is in quarantine."""

    @extend_schema(
        operation_id="list_quarantined",
        responses={200: QuarantinedList, **problems()},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str, source: str) -> Response:
        """List what the source describes otherwise than when it was taken over: calls of it are refused.

        Refresh the data source to take over what it describes now: an owner or admin may, or a key with ``admin``.
        """
        row = sources.get_source(uuid_of(source), caller=self.caller)
        found = list_quarantined(row.id, caller=self.caller)
        return results(QuarantinedSerializer(found, many=True).data)


class SourceDraftView(TenantView):
    """Makes definitions of tools."""

    @extend_schema(
        operation_id="draft_tool",
        request=DraftInput,
        responses={200: DraftSerializer, **problems(400, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, source: str) -> Response:
        """Make a definition for a tool on this data source of something pasted, a curl line. Nothing is saved."""
        given = self.read_input(DraftInput)
        return Response(
            DraftSerializer(previews.draft_tool(uuid_of(source), **given, caller=self.caller)).data
        )


class SourcePlanView(TenantView):
    """How a data source would run a SQL tool."""

    @extend_schema(
        operation_id="explain_sql_tool",
        request=PlanInput,
        responses={200: PlanSerializer, **problems(400, 413, 502)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str, source: str) -> Response:
        """Give the database's plan of a SQL tool that is being written. The tool does not run, and nothing is saved."""
        given = self.read_input(PlanInput)
        plan = explain_tool(uuid_of(source), given["definition"], caller=self.caller)
        return Response(PlanSerializer(plan).data)


class SlowStatementsView(TenantView):
    """What took long on one data source."""

    @extend_schema(
        operation_id="list_slow_statements",
        responses={200: SlowStatementList, **problems(503)},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str, source: str) -> Response:
        """List the newest statements that took long, newest first: at most 50, of the last seven days."""
        found = sources.list_slow_statements(uuid_of(source), caller=self.caller)
        return results(SlowStatementSerializer(found, many=True).data)


class HostedView(TenantView):
    """The command that Marina runs for one data source."""

    @extend_schema(
        operation_id="show_hosted_command",
        responses={200: HostedSourceSerializer, **problems(503)},
        tags=_TAGS,
    )
    def get(self, request: Request, tenant: str, source: str) -> Response:
        """Show how the command of a data source fares, and what it wrote. Of other sources there is nothing."""
        found = show_hosted(uuid_of(source), caller=self.caller)
        return Response(HostedSourceSerializer(found).data)


class SettingsTestView(TenantView):
    """A test of settings that are not saved."""

    @extend_schema(
        operation_id="test_data_source_settings",
        request=SettingsInput,
        responses={200: HealthSerializer, **problems(400, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Connect once with these settings and say what is wrong. Nothing is saved."""
        health = sources.test_settings(**self.read_input(SettingsInput), caller=self.caller)
        return Response(HealthSerializer(health).data)


class SettingsPreviewView(TenantView):
    """What settings that are not saved would bring."""

    @extend_schema(
        operation_id="preview_data_source",
        request=SettingsInput,
        responses={200: OfferingSerializer, **problems(400, 413)},
        tags=_TAGS,
    )
    def post(self, request: Request, tenant: str) -> Response:
        """Show what a data source with these settings would bring. Runs no tool, and saves nothing."""
        offering = sources.preview_offered(**self.read_input(SettingsInput), caller=self.caller)
        return Response(OfferingSerializer(offering).data)
