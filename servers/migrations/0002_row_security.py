"""Row-level security, grants and immutable tool versions of the servers app."""

from django.db import migrations

from tenants.rowsecurity import grant, row_security

TABLES = (
    "servers_datasource",
    "servers_tool",
    "servers_toolversion",
    "servers_server",
    "servers_serversource",
)

# A user's deletion may clear created_by; nothing else of a version ever changes.
_IMMUTABLE = """
CREATE FUNCTION marina_refuse_version_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - 'created_by_id' IS DISTINCT FROM to_jsonb(OLD) - 'created_by_id' THEN
        RAISE EXCEPTION 'a tool version is immutable: make a new version'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER immutable BEFORE UPDATE ON servers_toolversion
    FOR EACH ROW EXECUTE FUNCTION marina_refuse_version_change();
ALTER TABLE servers_toolversion ENABLE ALWAYS TRIGGER immutable;
"""

_IMMUTABLE_REVERSE = """
DROP TRIGGER immutable ON servers_toolversion;
DROP FUNCTION marina_refuse_version_change();
"""


class Migration(migrations.Migration):
    dependencies = [("servers", "0001_initial"), ("tenants", "0002_row_security")]

    operations = [
        *(row_security(table) for table in TABLES),
        *(grant("SELECT, INSERT, UPDATE, DELETE", table, "marina_app") for table in TABLES),
        migrations.RunSQL(_IMMUTABLE, _IMMUTABLE_REVERSE),
    ]
