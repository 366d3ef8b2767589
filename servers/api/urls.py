"""The addresses of data sources, their offerings and servers, below /api/v1/. Last in line: unknown ones end here."""

from __future__ import annotations

from django.urls import path, re_path

from servers.api.access import AccessView
from servers.api.caching import ToolCacheClearView, ToolCacheView
from servers.api.configuration import ConfigurationApplyView, ConfigurationPlanView, ConfigurationView
from servers.api.doctor import SelfTestView, TimelinesView, TimelineView
from servers.api.named_secrets import SecretReadView, SecretsView, SecretView
from servers.api.prompts import PromptsView, PromptView
from servers.api.resources import ResourcesView, ResourceView
from servers.api.running import ToolRunningView
from servers.api.schedules import ScheduleRunsView, SchedulesView, ScheduleTimesView, ScheduleView
from servers.api.served_versions import ServedVersionsView, ServedVersionView
from servers.api.servers import ServersView, ServerView, ServerWithheldView
from servers.api.sign_ins import SourceSignInView
from servers.api.sources import (
    HostedView,
    SettingsPreviewView,
    SettingsTestView,
    SlowStatementsView,
    SourceDraftView,
    SourcePlanView,
    SourceQuarantineView,
    SourceRefreshView,
    SourcesView,
    SourceTestView,
    SourceView,
)
from servers.api.tasks import TaskAgainView, TaskCancelView, TasksView, TaskView
from servers.api.tool_versions import (
    ToolComparisonView,
    ToolPublishView,
    ToolRollbackView,
    ToolVersionsView,
    ToolVersionView,
)
from servers.api.tools import (
    ToolCallView,
    ToolDisableView,
    ToolEnableView,
    ToolsView,
    ToolView,
)
from servers.api.upstreams import OverridesView, UpstreamsView
from tenants.api.base import NoSuchAddress

urlpatterns = [
    path("tenants/<str:tenant>/oauth/timelines", TimelinesView.as_view()),
    path("tenants/<str:tenant>/oauth/timelines/<str:timeline>", TimelineView.as_view()),
    path("tenants/<str:tenant>/oauth/self-test", SelfTestView.as_view()),
    path("tenants/<str:tenant>/data-sources", SourcesView.as_view()),
    path("tenants/<str:tenant>/data-sources/test", SettingsTestView.as_view()),
    path("tenants/<str:tenant>/data-sources/preview", SettingsPreviewView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>", SourceView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>/test", SourceTestView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>/explain", SourcePlanView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>/slow-statements", SlowStatementsView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>/hosted", HostedView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>/upstreams", UpstreamsView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>/overrides", OverridesView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>/refresh", SourceRefreshView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>/quarantine", SourceQuarantineView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>/sign-in", SourceSignInView.as_view()),
    path("tenants/<str:tenant>/data-sources/<str:source>/draft", SourceDraftView.as_view()),
    path("tenants/<str:tenant>/secrets", SecretsView.as_view()),
    path("tenants/<str:tenant>/secrets/<str:secret>", SecretView.as_view()),
    path("tenants/<str:tenant>/secrets/<str:secret>/read", SecretReadView.as_view()),
    path("tenants/<str:tenant>/tools", ToolsView.as_view()),
    path("tenants/<str:tenant>/tools/<str:tool>", ToolView.as_view()),
    path("tenants/<str:tenant>/tools/<str:tool>/versions", ToolVersionsView.as_view()),
    path("tenants/<str:tenant>/tools/<str:tool>/versions/<str:number>", ToolVersionView.as_view()),
    path("tenants/<str:tenant>/tools/<str:tool>/versions/<str:number>/publish", ToolPublishView.as_view()),
    path(
        "tenants/<str:tenant>/tools/<str:tool>/versions/<str:number>/against/<str:other>",
        ToolComparisonView.as_view(),
    ),
    path("tenants/<str:tenant>/tools/<str:tool>/rollback", ToolRollbackView.as_view()),
    path("tenants/<str:tenant>/tools/<str:tool>/enable", ToolEnableView.as_view()),
    path("tenants/<str:tenant>/tools/<str:tool>/disable", ToolDisableView.as_view()),
    path("tenants/<str:tenant>/tools/<str:tool>/call", ToolCallView.as_view()),
    path("tenants/<str:tenant>/tools/<str:tool>/running", ToolRunningView.as_view()),
    path("tenants/<str:tenant>/tools/<str:tool>/cache", ToolCacheView.as_view()),
    path("tenants/<str:tenant>/tools/<str:tool>/cache/clear", ToolCacheClearView.as_view()),
    path("tenants/<str:tenant>/tasks", TasksView.as_view()),
    path("tenants/<str:tenant>/tasks/<str:task>", TaskView.as_view()),
    path("tenants/<str:tenant>/tasks/<str:task>/cancel", TaskCancelView.as_view()),
    path("tenants/<str:tenant>/tasks/<str:task>/run-again", TaskAgainView.as_view()),
    path("tenants/<str:tenant>/schedules", SchedulesView.as_view()),
    path("tenants/<str:tenant>/schedules/times", ScheduleTimesView.as_view()),
    path("tenants/<str:tenant>/schedules/<str:tool_schedule>", ScheduleView.as_view()),
    path("tenants/<str:tenant>/schedules/<str:tool_schedule>/runs", ScheduleRunsView.as_view()),
    path("tenants/<str:tenant>/resources", ResourcesView.as_view()),
    path("tenants/<str:tenant>/resources/<str:resource>", ResourceView.as_view()),
    path("tenants/<str:tenant>/prompts", PromptsView.as_view()),
    path("tenants/<str:tenant>/prompts/<str:prompt>", PromptView.as_view()),
    path("tenants/<str:tenant>/servers", ServersView.as_view()),
    path("tenants/<str:tenant>/servers/<str:server>", ServerView.as_view()),
    path("tenants/<str:tenant>/servers/<str:server>/not-offered", ServerWithheldView.as_view()),
    path("tenants/<str:tenant>/servers/<str:server>/versions", ServedVersionsView.as_view()),
    path("tenants/<str:tenant>/servers/<str:server>/versions/<str:served>", ServedVersionView.as_view()),
    path("tenants/<str:tenant>/configuration.yaml", ConfigurationView.as_view()),
    path("tenants/<str:tenant>/configuration/plan", ConfigurationPlanView.as_view()),
    path("tenants/<str:tenant>/configuration/apply", ConfigurationApplyView.as_view()),
    path("tenants/<str:tenant>/access", AccessView.as_view()),
    re_path(r"", NoSuchAddress.as_view()),
]
