"""Row-level security and grants of resources and prompts."""

from django.db import migrations

from tenants.rowsecurity import grant, row_security

TABLES = ("servers_resource", "servers_prompt")


class Migration(migrations.Migration):
    dependencies = [("servers", "0003_resources_and_prompts")]

    operations = [
        *(row_security(table) for table in TABLES),
        *(grant("SELECT, INSERT, UPDATE, DELETE", table, "marina_app") for table in TABLES),
    ]
