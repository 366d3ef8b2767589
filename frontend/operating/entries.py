"""What the operator sees of each table. Nothing of a team can be changed here, and no secret is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from frontend.operating.choice import chosen_team
from frontend.operating.site import site
from servers.models import DataSource, Prompt, Resource, Server, Tool
from tenants.models import ApiKey, AuditExport, Membership, Tenant, User

if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin


class Shown(_ModelAdmin):
    """A table that is read here and changed elsewhere."""

    actions = None
    list_per_page = 50
    show_full_result_count = False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """See ``ModelAdmin``. What a page does not show cannot be searched for either: not bit by bit."""
        name, _, how = lookup.partition("__")
        return name in self.list_filter and how in {"", "exact"}

    def has_module_permission(self, request: HttpRequest) -> bool:
        """See ``ModelAdmin``."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """See ``ModelAdmin``. The site lets only operators in."""
        return site.has_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """See ``ModelAdmin``."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """See ``ModelAdmin``."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """See ``ModelAdmin``."""
        return False


class OfATeam(Shown):
    """Rows of the team that is looked into. Without one there is no such table."""

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """See ``ModelAdmin``."""
        return super().has_view_permission(request, obj) and chosen_team(request) is not None


@admin.register(Tenant, site=site)
class TenantEntry(Shown):
    """Every team, and the way to look into one."""

    # The link before the date: a narrow window shows it without being scrolled.
    list_display = ("slug", "name", "look", "created_at")
    search_fields = ("slug", "name")
    ordering = ("slug",)

    @admin.display(description="")
    def look(self, tenant: Tenant) -> str:
        """The link to the page that asks why."""
        return format_html('<a href="{}">Look into it</a>', reverse("operator:enter", args=[tenant.pk]))


@admin.register(User, site=site)
class UserEntry(Shown):
    """Every account. It can be shut, and made an operator's; its password cannot be seen or set."""

    list_display = ("email", "name", "is_active", "is_staff", "last_login", "created_at")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    ordering = ("email",)
    fields = ("email", "name", "is_active", "is_staff", "last_login", "created_at")
    readonly_fields = ("email", "name", "last_login", "created_at")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """See ``ModelAdmin``. One's own account is left to another operator: nobody shuts themselves out."""
        return self.has_view_permission(request, obj) and (obj is None or obj.pk != request.user.pk)


@admin.register(Membership, site=site)
class MembershipEntry(OfATeam):
    """Who belongs to the team."""

    list_display = ("user", "role", "created_at")
    list_select_related = ("user",)


@admin.register(ApiKey, site=site)
class ApiKeyEntry(OfATeam):
    """The team's keys, by what may be seen of them."""

    list_display = ("name", "mode", "prefix", "created_at", "expires_at", "revoked_at", "last_used_at")
    search_fields = ("name", "prefix")
    exclude = ("digest",)


@admin.register(DataSource, site=site)
class DataSourceEntry(OfATeam):
    """The team's data sources and their health."""

    list_display = ("name", "kind", "health", "health_reason", "health_checked_at")
    search_fields = ("name",)
    exclude = ("sealed",)


class Offered(OfATeam):
    """What a team's sources brought or a team made."""

    list_filter: ClassVar[tuple[str, ...]] = ("enabled",)
    list_select_related = ("source",)


@admin.register(Tool, site=site)
class ToolEntry(Offered):
    """The team's tools."""

    list_display = ("name", "source", "enabled", "created_at")
    search_fields = ("name",)


@admin.register(Resource, site=site)
class ResourceEntry(Offered):
    """The team's resources and resource templates."""

    list_display = ("uri", "name", "source", "enabled")
    search_fields = ("uri", "name")


@admin.register(Prompt, site=site)
class PromptEntry(Offered):
    """The team's prompts."""

    list_display = ("name", "title", "source", "enabled")
    search_fields = ("name",)


@admin.register(Server, site=site)
class ServerEntry(OfATeam):
    """The team's servers."""

    list_display = ("slug", "title", "access", "offers_all")
    search_fields = ("slug", "title")


@admin.register(AuditExport, site=site)
class AuditExportEntry(OfATeam):
    """The team's exports, and why one failed."""

    list_display = ("id", "status", "format", "requested_by", "created_at", "finished_at", "error")
    exclude = ("path",)
