"""What: data sources, tools with immutable versions, resources, prompts, and servers.

Fields, constraints, pure properties.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Value
from django.utils import timezone

from servers.models_quarantine import Quarantine
from servers.models_schedules import ScheduledRun, ToolSchedule
from servers.models_secrets import SECRET_NAME, Secret, SecretUse
from servers.models_tasks import Task, Turn
from servers.models_upstream import UpstreamClient, UpstreamSignIn
from tenants.models import SLUG_PATTERN, User
from tenants.oauth_addresses import RESERVED_SERVERS
from tenants.scoping import TenantOwned

NAME_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"
"""A tool's, prompt's or data source's name, as MCP clients accept it everywhere."""

CHECKED_EVERY = timedelta(seconds=60)
"""How often each data source is checked."""

HOSTED_RESTS = timedelta(minutes=15)
"""How long a command that was well is not begun again only to look whether it still is."""

MAX_CACHE_SECONDS = 86_400
"""A tool's result is kept for a day at most."""

MAX_DEADLINE = 86_400
"""Seconds that a run of a tool may be given at most."""

MAX_URI = 1_024
"""Characters of a resource's URI or URI template: it stands in an index, whose entries are bounded."""


class DataSource(TenantOwned):
    """Something tools work on. ``settings`` may be shown; ``sealed`` holds the whole settings, encrypted."""

    class HealthState(models.TextChoices):
        UNKNOWN = "unknown"
        HEALTHY = "healthy"
        DEGRADED = "degraded"
        UNHEALTHY = "unhealthy"
        QUARANTINED = "quarantined"
        NEEDS_SIGN_IN = "needs_sign_in"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64)
    kind = models.CharField(max_length=32)
    settings = models.JSONField(default=dict)
    sealed = models.BinaryField()
    version = models.IntegerField(default=1)
    tool_prefix = models.CharField(max_length=65, blank=True)
    health = models.CharField(max_length=16, choices=HealthState.choices, default=HealthState.UNKNOWN)
    health_reason = models.CharField(max_length=500, blank=True)
    health_checked_at = models.DateTimeField(null=True)
    health_since = models.DateTimeField(null=True)
    """When its health became what it is."""
    health_parts = models.JSONField(default=list, db_default=[])
    """What the last check found of each of the servers behind it, where there are several."""
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta(TenantOwned.Meta):
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="servers_datasource_name_unique"),
            models.CheckConstraint(
                condition=models.Q(name__regex=NAME_PATTERN), name="servers_datasource_name_valid"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"

    @property
    def health_next_at(self) -> datetime | None:
        """When it is checked again, about; ``None`` where it was not yet."""
        if self.health_checked_at is None:
            return None
        rests = self.is_hosted and self.health == self.HealthState.HEALTHY
        every = HOSTED_RESTS if rests else CHECKED_EVERY
        # A check that is late is made with the next round.
        return max(self.health_checked_at + every, timezone.now())

    @property
    def is_hosted(self) -> bool:
        """Whether a command is run for it."""
        return self.kind == "mcp" and "command" in self.settings

    @property
    def seal_context(self) -> str:
        """Where the sealed settings belong: they open nowhere else."""
        return f"data-source:{self.tenant_id}:{self.id}"


class Tool(TenantOwned):
    """A tool by name. What it does is in its current version: of one that was never published, the newest draft."""

    class Runs(models.TextChoices):
        """Where its calls run: in the web process that took them, or at a worker.

        Automatic: at a worker where its source says so, or its deadline is longer than a request may take.
        """

        AUTOMATIC = "automatic"
        INLINE = "inline"
        WORKER = "worker"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64)
    source = models.ForeignKey(DataSource, on_delete=models.CASCADE, related_name="tools")
    current = models.ForeignKey("ToolVersion", on_delete=models.RESTRICT, null=True, related_name="+")
    enabled = models.BooleanField(default=True)
    brought = models.BooleanField(default=False, db_default=False)
    """Whether it came with its source, which then decides at a refresh what becomes of it."""
    cache_seconds = models.IntegerField(default=0, db_default=0)
    """How long a result is kept for other calls; 0: not at all."""
    cache_generation = models.IntegerField(default=0, db_default=0)
    """Counts up when the cache is cleared: results of a former generation are found no more."""
    collapses = models.BooleanField(default=True, db_default=True)
    """Whether the same call, made several times at once, may run once."""
    runs = models.CharField(
        max_length=16, choices=Runs.choices, default=Runs.AUTOMATIC, db_default=Runs.AUTOMATIC.value
    )
    deadline = models.IntegerField(null=True)
    """Seconds that a run may take; ``None``: as long as one of its way of running may."""
    priority = models.SmallIntegerField(default=0, db_default=0)
    """How urgent its calls are among the team's, where they say nothing: -1, 0 or 1."""
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="servers_tool_name_unique"),
            models.CheckConstraint(
                condition=models.Q(name__regex=NAME_PATTERN), name="servers_tool_name_valid"
            ),
            models.CheckConstraint(
                condition=models.Q(cache_seconds__gte=0, cache_seconds__lte=MAX_CACHE_SECONDS),
                name="servers_tool_cache_seconds_valid",
            ),
            models.CheckConstraint(
                condition=models.Q(runs__in=["automatic", "inline", "worker"]), name="servers_tool_runs_valid"
            ),
            models.CheckConstraint(
                condition=models.Q(deadline__isnull=True)
                | models.Q(deadline__gte=1, deadline__lte=MAX_DEADLINE),
                name="servers_tool_deadline_valid",
            ),
            models.CheckConstraint(
                condition=models.Q(priority__range=(-1, 1)), name="servers_tool_priority_valid"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ToolVersion(TenantOwned):
    """What a tool is, once and for all: a trigger lets ``state`` alone change. A change makes a new version."""

    class State(models.TextChoices):
        """What has become of a version. A tool's current version is its newest published one.

        A draft was never offered to all. A withdrawn one was, and the tool was rolled back to one before it.
        """

        DRAFT = "draft"
        PUBLISHED = "published"
        WITHDRAWN = "withdrawn"
        DISCARDED = "discarded"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tool = models.ForeignKey(Tool, on_delete=models.CASCADE, related_name="versions")
    number = models.IntegerField()
    # As of icons, with a default in the database: what the former release makes is published.
    state = models.CharField(
        max_length=16, choices=State.choices, default=State.PUBLISHED, db_default=State.PUBLISHED.value
    )
    kind = models.CharField(max_length=32)
    title = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    definition = models.JSONField(default=dict)
    input_schema = models.JSONField()
    output_schema = models.JSONField(null=True)
    annotations = models.JSONField(default=dict)
    # With a default in the database too: processes of the former release go on making versions.
    icons = models.JSONField(default=list, db_default=Value([], models.JSONField()))
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["tool", "number"], name="servers_toolversion_number_unique"),
            models.CheckConstraint(
                condition=models.Q(state__in=["draft", "published", "withdrawn", "discarded"]),
                name="servers_toolversion_state_valid",
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number} of {self.tool_id}"


class Brought(TenantOwned):
    """What resources and prompts have in common: they came with a source, or were made on it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    icons = models.JSONField(default=list)
    kind = models.CharField(max_length=32)
    definition = models.JSONField(default=dict)
    enabled = models.BooleanField(default=True)
    brought = models.BooleanField(default=True, db_default=True)
    """Whether it came with its source, which then decides what it is. Else it is the team's own."""
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantOwned.Meta):
        abstract = True


class Resource(Brought):
    """A resource of a source, or with ``template`` a resource template; ``uri`` is then RFC 6570."""

    source = models.ForeignKey(DataSource, on_delete=models.CASCADE, related_name="resources")
    uri = models.CharField(max_length=MAX_URI)
    template = models.BooleanField(default=False)
    name = models.CharField(max_length=200)
    mime_type = models.CharField(max_length=200, blank=True)
    size = models.BigIntegerField(null=True)
    annotations = models.JSONField(default=dict)

    class Meta(TenantOwned.Meta):
        ordering = ["uri"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "uri"], name="servers_resource_uri_unique"),
            models.CheckConstraint(condition=~models.Q(uri=""), name="servers_resource_uri_given"),
            models.CheckConstraint(
                condition=models.Q(size__isnull=True) | models.Q(size__gte=0),
                name="servers_resource_size_valid",
            ),
        ]

    def __str__(self) -> str:
        return self.uri


class Prompt(Brought):
    """A prompt of a source. ``arguments`` are MCP's: name, title, description, required."""

    source = models.ForeignKey(DataSource, on_delete=models.CASCADE, related_name="prompts")
    name = models.CharField(max_length=64)
    arguments = models.JSONField(default=list)

    class Meta(TenantOwned.Meta):
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "name"], name="servers_prompt_name_unique"),
            models.CheckConstraint(
                condition=models.Q(name__regex=NAME_PATTERN), name="servers_prompt_name_valid"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Server(TenantOwned):
    """One MCP surface at its own URL. Offers all that its tenant has, or what comes of chosen sources."""

    class Access(models.TextChoices):
        PRIVATE = "private"
        PUBLIC = "public"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.CharField(max_length=40)
    title = models.CharField(max_length=120)
    instructions = models.TextField(blank=True)
    access = models.CharField(max_length=16, choices=Access.choices, default=Access.PRIVATE)
    offers_all = models.BooleanField(default=False)
    sources: models.ManyToManyField[DataSource, ServerSource] = models.ManyToManyField(
        DataSource, through="ServerSource", related_name="servers"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["slug"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "slug"], name="servers_server_slug_unique"),
            models.CheckConstraint(
                condition=models.Q(slug__regex=SLUG_PATTERN), name="servers_server_slug_valid"
            ),
            models.CheckConstraint(
                condition=~models.Q(slug__in=RESERVED_SERVERS), name="servers_server_slug_free"
            ),
            models.CheckConstraint(
                condition=models.Q(access__in=["private", "public"]), name="servers_server_access_valid"
            ),
        ]

    def __str__(self) -> str:
        return self.slug


class ServerSource(TenantOwned):
    """A data source whose tools, resources and prompts a server offers."""

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="+")
    source = models.ForeignKey(DataSource, on_delete=models.CASCADE, related_name="+")

    class Meta(TenantOwned.Meta):
        constraints = [
            models.UniqueConstraint(fields=["server", "source"], name="servers_serversource_unique")
        ]

    def __str__(self) -> str:
        return f"{self.server_id} offers {self.source_id}"


class ServedVersion(TenantOwned):
    """A version of a tool that a server offers in another way than as the tool's current one.

    A pin takes the current one's place. ``beside`` stands beside it, under a name of its own. A canary takes its place
    for some: for ``share`` percent of those who call, and for ``credentials`` (API keys, OAuth clients, issuers).
    """

    class Use(models.TextChoices):
        PIN = "pin"
        BESIDE = "beside"
        CANARY = "canary"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="+")
    tool = models.ForeignKey(Tool, on_delete=models.CASCADE, related_name="+")
    version = models.ForeignKey(ToolVersion, on_delete=models.RESTRICT, related_name="+")
    use = models.CharField(max_length=16, choices=Use.choices)
    share = models.IntegerField(null=True)
    credentials = ArrayField(models.UUIDField(), default=list)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta(TenantOwned.Meta):
        ordering = ["server__slug", "tool__name", "use", "version__number"]
        constraints = [
            models.UniqueConstraint(
                fields=["server", "tool", "use"],
                condition=models.Q(use__in=["pin", "canary"]),
                name="servers_servedversion_use_unique",
            ),
            models.UniqueConstraint(
                fields=["server", "version"],
                condition=models.Q(use="beside"),
                name="servers_servedversion_beside_unique",
            ),
            models.CheckConstraint(
                condition=models.Q(use="canary", share__isnull=True, credentials__len__gt=0)
                | models.Q(use="canary", share__isnull=False, share__gte=1, share__lte=100)
                | models.Q(use__in=["pin", "beside"], share__isnull=True, credentials__len=0),
                name="servers_servedversion_canary_valid",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.use} of {self.version_id} on {self.server_id}"


__all__ = [
    "MAX_DEADLINE",
    "MAX_URI",
    "NAME_PATTERN",
    "SECRET_NAME",
    "DataSource",
    "Prompt",
    "Quarantine",
    "Resource",
    "ScheduledRun",
    "Secret",
    "SecretUse",
    "ServedVersion",
    "Server",
    "ServerSource",
    "Task",
    "Tool",
    "ToolSchedule",
    "ToolVersion",
    "Turn",
    "UpstreamClient",
    "UpstreamSignIn",
]
