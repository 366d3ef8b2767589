"""What a record holds beside masked arguments, what auditors see, and the ends of memberships in the log."""

import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models

from tenants.rowsecurity import grant, row_security

# Auditors that are there go on seeing what they saw; those to come are given it, and other roles have none to keep.
# The rows are seen whole by their owner only while they are not kept from it.
SIGHT = """
ALTER TABLE "tenants_membership" NO FORCE ROW LEVEL SECURITY;
UPDATE "tenants_membership" SET payloads = true WHERE role = 'auditor';
ALTER TABLE "tenants_membership" FORCE ROW LEVEL SECURITY
"""

# /ready counts over all teams, and may see of their rows no more than how many there are: as ``marina_due_streams``.
_WAITING = """
CREATE POLICY waiting_exports ON tenants_auditexport FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION marina_waiting_exports(seconds double precision) RETURNS TABLE (waiting bigint, working bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT
        count(*) FILTER (WHERE CASE status WHEN 'queued' THEN created_at ELSE lease_until END
            < now() - make_interval(secs => seconds)),
        count(*) FILTER (WHERE status = 'running' AND lease_until >= now())
    FROM tenants_auditexport WHERE status IN ('queued', 'running')
$$;
REVOKE ALL ON FUNCTION marina_waiting_exports(double precision) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marina_waiting_exports(double precision) TO marina_app;
"""

_WAITING_REVERSE = """
DROP FUNCTION marina_waiting_exports(double precision);
DROP POLICY waiting_exports ON tenants_auditexport;
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0022_log_partitions")]

    operations = [
        # Foreign keys are made at the end, and look into the table: no tenant is in scope, which has to be said.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="OriginalsKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sealed", models.BinaryField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "constraints": [models.UniqueConstraint(fields=("tenant",), name="tenants_originalskey_one")],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        row_security("tenants_originalskey"),
        # Sealed anew under another master key, never deleted.
        grant("SELECT, INSERT, UPDATE", "tenants_originalskey", "marina_app"),
        # Teams that are there were told that results are not kept: theirs stays off until they turn it on.
        migrations.AddField("tenant", "preview_characters", models.IntegerField(default=500, db_default=0)),
        migrations.AddConstraint(
            "tenant",
            models.CheckConstraint(
                condition=models.Q(("preview_characters__range", (0, 2000))),
                name="tenants_tenant_preview_valid",
            ),
        ),
        migrations.AddField("membership", "payloads", models.BooleanField(default=False, db_default=False)),
        migrations.RunSQL(SIGHT, migrations.RunSQL.noop),
        migrations.AddField("membership", "end_noted_at", models.DateTimeField(null=True)),
        migrations.AddField("auditexport", "payloads", models.BooleanField(default=True, db_default=True)),
        migrations.RunSQL(_WAITING, _WAITING_REVERSE),
    ]
