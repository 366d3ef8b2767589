"""Streams of the log to receivers of a team's own, with row-level security, and the one look at which have work."""

import uuid

import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models

from tenants.rowsecurity import grant, nameable, row_security, same_tenant

_MANAGERS: list[tuple[str, django.db.models.manager.Manager[models.Model]]] = [
    ("objects", django.db.models.manager.Manager()),
    ("directory", django.db.models.manager.Manager()),
]

# The worker looks at all teams at once, and may see of their rows no more than which have something to do: the function
# runs as the tables' owner, which may read them here, and gives ids alone.
_DUE = """
CREATE POLICY due_streams ON tenants_logstream FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY due_streams ON tenants_audithead FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION marina_due_streams(most integer) RETURNS TABLE (tenant_id bigint, stream_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT s.tenant_id, s.id FROM tenants_logstream s JOIN tenants_audithead h ON h.tenant_id = s.tenant_id
    WHERE s.enabled AND s.cursor < h.seq
        AND (s.lease_until IS NULL OR s.lease_until < now())
        AND (s.next_try_at IS NULL OR s.next_try_at <= now())
    ORDER BY s.claimed_at NULLS FIRST, s.id LIMIT most
$$;
REVOKE ALL ON FUNCTION marina_due_streams(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marina_due_streams(integer) TO marina_app;
"""

_DUE_REVERSE = """
DROP FUNCTION marina_due_streams(integer);
DROP POLICY due_streams ON tenants_audithead;
DROP POLICY due_streams ON tenants_logstream;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0016_log_checkpoints"),
    ]

    operations = [
        # Foreign keys are added last, when the policies stand: the check of the empty tables asks them.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="LogStream",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=80)),
                (
                    "kind",
                    models.CharField(
                        choices=[("webhook", "Webhook"), ("syslog", "Syslog"), ("otlp", "Otlp")],
                        max_length=16,
                    ),
                ),
                ("settings", models.JSONField(default=dict)),
                ("sealed", models.BinaryField(null=True)),
                ("filters", models.JSONField(default=dict)),
                ("enabled", models.BooleanField(default=True)),
                ("paused_because", models.CharField(blank=True, default="", max_length=300)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("cursor", models.BigIntegerField()),
                ("pending", models.BigIntegerField(null=True)),
                ("fence", models.IntegerField(default=0)),
                ("lease_until", models.DateTimeField(null=True)),
                ("claimed_at", models.DateTimeField(null=True)),
                ("attempts", models.BigIntegerField(default=0)),
                ("failures", models.IntegerField(default=0)),
                ("failing_since", models.DateTimeField(null=True)),
                ("next_try_at", models.DateTimeField(null=True)),
                ("error", models.CharField(blank=True, default="", max_length=300)),
                ("taken_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["name", "id"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "name"), name="tenants_logstream_name_unique"),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", ["webhook", "syslog", "otlp"])),
                        name="tenants_logstream_kind_valid",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("cursor__gte", 0),
                            models.Q(
                                ("pending__isnull", True),
                                ("pending__gt", models.F("cursor")),
                                _connector="OR",
                            ),
                        ),
                        name="tenants_logstream_cursor_valid",
                    ),
                ],
            },
            managers=_MANAGERS,
        ),
        migrations.CreateModel(
            name="StreamDelivery",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("number", models.BigIntegerField()),
                (
                    "cause",
                    models.CharField(
                        choices=[("turn", "Turn"), ("again", "Again"), ("test", "Test")], max_length=8
                    ),
                ),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                ("first", models.BigIntegerField(null=True)),
                ("last", models.BigIntegerField(null=True)),
                ("filters", models.JSONField(default=dict)),
                ("records", models.IntegerField(default=0)),
                ("size", models.BigIntegerField(default=0)),
                ("attempt", models.IntegerField(default=1)),
                ("taken", models.BooleanField()),
                ("status", models.IntegerField(null=True)),
                ("duration_us", models.BigIntegerField(default=0)),
                ("words", models.CharField(blank=True, default="", max_length=300)),
                (
                    "stream",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="tenants.logstream",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["-number"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("stream", "number"), name="tenants_streamdelivery_number_unique"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("cause__in", ["turn", "again", "test"])),
                        name="tenants_streamdelivery_cause_valid",
                    ),
                ],
            },
            managers=_MANAGERS,
        ),
        row_security("tenants_logstream"),
        row_security("tenants_streamdelivery"),
        # A delivery is of its stream's tenant, whatever wrote it.
        nameable("tenants_logstream"),
        same_tenant("tenants_streamdelivery", "stream_id", "tenants_logstream"),
        grant("SELECT, INSERT, UPDATE, DELETE", "tenants_logstream", "marina_app"),
        grant("SELECT, INSERT, UPDATE, DELETE", "tenants_streamdelivery", "marina_app"),
        migrations.RunSQL(_DUE, _DUE_REVERSE),
    ]
