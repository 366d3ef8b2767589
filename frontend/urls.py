"""The dashboard's URLs, below ``/app/``. A tenant's slug is always in the path of its pages.

What stands beside the tenants here is a slug that no tenant may have (``RESERVED_SLUGS``)."""

from __future__ import annotations

from django.urls import include, path

from frontend.views import (
    access,
    account,
    connect,
    exports,
    keys,
    log,
    members,
    overview,
    prompts,
    resources,
    servers,
    session,
    sources,
    tools,
)

app_name = "frontend"

_TENANT = [
    path("", overview.overview, name="overview"),
    path("overview/<str:name>", overview.part, name="overview_part"),
    path("data-sources/", sources.source_list, name="sources"),
    path("data-sources/new", sources.source_new, name="source_new"),
    path("data-sources/try", sources.source_try, name="source_try"),
    path("data-sources/<uuid:source_id>/", sources.source, name="source"),
    path("data-sources/<uuid:source_id>/test", sources.source_test, name="source_test"),
    path("data-sources/<uuid:source_id>/refresh", sources.source_refresh, name="source_refresh"),
    path("data-sources/<uuid:source_id>/delete", sources.source_delete, name="source_delete"),
    path("tools/", tools.tool_list, name="tools"),
    path("tools/new", tools.tool_new, name="tool_new"),
    path("tools/preview", tools.tool_preview, name="tool_preview"),
    path("tools/<uuid:tool_id>/", tools.tool_page, name="tool"),
    path("tools/<uuid:tool_id>/edit", tools.tool_edit, name="tool_edit"),
    path("tools/<uuid:tool_id>/try", tools.tool_try, name="tool_try"),
    path("tools/<uuid:tool_id>/enabled", tools.tool_enabled, name="tool_enabled"),
    path("tools/<uuid:tool_id>/delete", tools.tool_delete, name="tool_delete"),
    path("resources/", resources.resource_list, name="resources"),
    path("resources/<uuid:resource_id>/", resources.resource_page, name="resource"),
    path("resources/<uuid:resource_id>/enabled", resources.resource_enabled, name="resource_enabled"),
    path("prompts/", prompts.prompt_list, name="prompts"),
    path("prompts/<uuid:prompt_id>/", prompts.prompt_page, name="prompt"),
    path("prompts/<uuid:prompt_id>/enabled", prompts.prompt_enabled, name="prompt_enabled"),
    path("servers/", servers.server_list, name="servers"),
    path("servers/new", servers.server_new, name="server_new"),
    path("servers/<uuid:server_id>/", servers.server, name="server"),
    path("servers/<uuid:server_id>/publish", servers.server_publish, name="server_publish"),
    path("servers/<uuid:server_id>/unpublish", servers.server_unpublish, name="server_unpublish"),
    path("servers/<uuid:server_id>/delete", servers.server_delete, name="server_delete"),
    path("connect/", connect.connect, name="connect"),
    path("connect/check", connect.connect_check, name="connect_check"),
    path("keys/", keys.key_list, name="keys"),
    path("keys/new", keys.key_new, name="key_new"),
    path("keys/<uuid:key_id>/", keys.key_page, name="key"),
    path("keys/<uuid:key_id>/networks", keys.key_networks, name="key_networks"),
    path("keys/<uuid:key_id>/roll", keys.key_roll, name="key_roll"),
    path("keys/<uuid:key_id>/revoke", keys.key_revoke, name="key_revoke"),
    path("access/", access.explain, name="access"),
    path("members/", members.members, name="members"),
    path("members/<int:membership_id>/role", members.member_role, name="member_role"),
    path("members/<int:membership_id>/end", members.member_end, name="member_end"),
    path("members/transfer", members.transfer, name="members_transfer"),
    path("members/leave", members.leave, name="members_leave"),
    path("members/<int:membership_id>/remove", members.member_remove, name="member_remove"),
    path("log/", log.log, name="log"),
    path("log/news", log.log_news, name="log_news"),
    path("log/<int:seq>", log.record, name="record"),
    path("exports/", exports.exports, name="exports"),
    path("exports/part", exports.exports_part, name="exports_part"),
    path("exports/<uuid:export_id>/download", exports.export_download, name="export_download"),
]

urlpatterns = [
    path("", session.home, name="home"),
    path("sign-in", session.sign_in, name="sign_in"),
    path("sign-out", session.sign_out, name="sign_out"),
    path("account/", account.account, name="account"),
    path("account/password", account.password, name="password"),
    path("account/sign-ins/end", account.sign_ins_end, name="sign_ins_end"),
    path("account/sign-ins/<uuid:sign_in_id>/end", account.sign_in_end, name="sign_in_end"),
    path("<str:tenant>/", include(_TENANT)),
]
