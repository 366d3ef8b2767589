"""What a tenant's row points at is the same tenant's: keys of both columns beneath row-level security."""

from django.db import migrations

from tenants.rowsecurity import nameable, same_tenant

TARGETS = ("servers_datasource", "servers_server", "servers_tool", "servers_toolversion")
KEYS = (
    ("servers_tool", "source_id", "servers_datasource"),
    ("servers_tool", "current_id", "servers_toolversion"),
    ("servers_toolversion", "tool_id", "servers_tool"),
    ("servers_resource", "source_id", "servers_datasource"),
    ("servers_prompt", "source_id", "servers_datasource"),
    ("servers_serversource", "server_id", "servers_server"),
    ("servers_serversource", "source_id", "servers_datasource"),
)


class Migration(migrations.Migration):
    dependencies = [("servers", "0004_row_security_of_resources_and_prompts")]

    operations = [
        *(nameable(target) for target in TARGETS),
        *(same_tenant(*key) for key in KEYS),
    ]
