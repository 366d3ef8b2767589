"""Row-level security, grants and the append-only log of the tenants app."""

from django.db import migrations

from tenants.rowsecurity import grant, row_security

_APPEND_ONLY = """
CREATE FUNCTION marina_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenants_auditrecord
    FOR EACH STATEMENT EXECUTE FUNCTION marina_refuse_change();
ALTER TABLE tenants_auditrecord ENABLE ALWAYS TRIGGER append_only;
"""

_APPEND_ONLY_REVERSE = """
DROP TRIGGER append_only ON tenants_auditrecord;
DROP FUNCTION marina_refuse_change();
"""

# The log's writer serves all tenants in one transaction; it may touch nothing but the log.
_WRITER = """
CREATE POLICY writer_reads ON tenants_auditrecord FOR SELECT TO marina_writer USING (true);
CREATE POLICY writer_appends ON tenants_auditrecord FOR INSERT TO marina_writer WITH CHECK (true);
CREATE POLICY writer ON tenants_audithead TO marina_writer USING (true) WITH CHECK (true);
"""

_WRITER_REVERSE = """
DROP POLICY writer ON tenants_audithead;
DROP POLICY writer_appends ON tenants_auditrecord;
DROP POLICY writer_reads ON tenants_auditrecord;
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [
        row_security(
            "tenants_membership",
            also_readable="user_id = nullif(current_setting('app.user', true), '')::bigint",
        ),
        row_security(
            "tenants_apikey",
            also_readable="digest = decode(nullif(current_setting('app.key', true), ''), 'hex')",
        ),
        row_security("tenants_audithead"),
        row_security("tenants_auditrecord"),
        row_security("tenants_auditexport"),
        grant("SELECT, INSERT, UPDATE", "tenants_tenant", "marina_app"),
        grant("SELECT, INSERT, UPDATE, DELETE", "tenants_membership", "marina_app"),
        grant("SELECT, INSERT, UPDATE", "tenants_apikey", "marina_app"),
        grant("SELECT, INSERT, UPDATE", "tenants_user", "marina_app"),
        grant("SELECT, INSERT, DELETE", "tenants_user_groups", "marina_app"),
        grant("SELECT, INSERT, DELETE", "tenants_user_user_permissions", "marina_app"),
        grant("SELECT, INSERT, UPDATE", "tenants_auditexport", "marina_app"),
        grant("SELECT, INSERT, UPDATE", "tenants_audithead", "marina_app"),
        grant("SELECT, INSERT", "tenants_auditrecord", "marina_app"),
        grant("SELECT, INSERT, UPDATE", "tenants_audithead", "marina_writer"),
        grant("SELECT, INSERT", "tenants_auditrecord", "marina_writer"),
        migrations.RunSQL(_WRITER, _WRITER_REVERSE),
        migrations.RunSQL(_APPEND_ONLY, _APPEND_ONLY_REVERSE),
    ]
