"""Signed checkpoints of the log: keys, checkpoints that nobody changes, how far they are made and published."""

import uuid

import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models

from tenants.rowsecurity import grant, row_security

_APPEND_ONLY = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenants_auditcheckpoint
    FOR EACH STATEMENT EXECUTE FUNCTION marina_refuse_change();
ALTER TABLE tenants_auditcheckpoint ENABLE ALWAYS TRIGGER append_only;
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON tenants_logkey
    FOR EACH STATEMENT EXECUTE FUNCTION marina_refuse_change();
ALTER TABLE tenants_logkey ENABLE ALWAYS TRIGGER append_only;
"""

_APPEND_ONLY_REVERSE = """
DROP TRIGGER append_only ON tenants_logkey;
DROP TRIGGER append_only ON tenants_auditcheckpoint;
"""

# One look over all tenants finds what is due: by the role of the log's writer, which may read these besides.
_LOOK = """
CREATE POLICY writer ON tenants_checkpointstate FOR SELECT TO marina_writer USING (true);
CREATE POLICY writer ON tenants_checkpointcursor FOR SELECT TO marina_writer USING (true);
CREATE POLICY writer ON tenants_auditverification FOR SELECT TO marina_writer USING (true);
"""

_LOOK_REVERSE = """
DROP POLICY writer ON tenants_auditverification;
DROP POLICY writer ON tenants_checkpointcursor;
DROP POLICY writer ON tenants_checkpointstate;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0015_single_sign_on"),
    ]

    operations = [
        # Foreign keys are added last, when the policies stand: the check of the empty tables asks them.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="LogKey",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("public", models.BinaryField(unique=True)),
                ("sealed", models.BinaryField()),
                ("statement", models.BinaryField()),
                ("since", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("until", models.DateTimeField(null=True)),
            ],
            options={
                "ordering": ["id"],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id__gte", 1)), name="tenants_logkey_counted")
                ],
            },
        ),
        migrations.CreateModel(
            name="AuditCheckpoint",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id", "number", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.BigIntegerField()),
                ("seq", models.BigIntegerField()),
                ("at", models.DateTimeField()),
                ("note", models.BinaryField()),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-number"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "indexes": [models.Index(fields=["tenant", "seq"], name="tenants_checkpoint_seq")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("number__gte", 1)), name="tenants_checkpoint_counted"
                    )
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name="AuditVerification",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                        ],
                        default="queued",
                        max_length=16,
                    ),
                ),
                ("requested_by", models.CharField(max_length=200)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("finished_at", models.DateTimeField(null=True)),
                ("lease_until", models.DateTimeField(null=True)),
                ("fence", models.IntegerField(default=0)),
                ("looked", models.BigIntegerField(default=0)),
                ("whole", models.BooleanField(null=True)),
                ("records", models.BigIntegerField(null=True)),
                ("checkpoints", models.BigIntegerField(null=True)),
                ("result", models.TextField(blank=True, default="")),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["-created_at", "id"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("status__in", ["queued", "running", "done", "failed"])),
                        name="tenants_auditverification_status_valid",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("status__in", ["queued", "running"])),
                        fields=("tenant",),
                        name="tenants_auditverification_one_open",
                    ),
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name="CheckpointCursor",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("target", models.CharField(max_length=32)),
                ("label", models.CharField(max_length=200)),
                ("number", models.BigIntegerField(default=0)),
                ("said_at", models.DateTimeField(null=True)),
                ("published_at", models.DateTimeField(null=True)),
                ("failures", models.IntegerField(default=0)),
                ("failing_since", models.DateTimeField(null=True)),
                ("next_try_at", models.DateTimeField(null=True)),
                ("error", models.CharField(blank=True, default="", max_length=300)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["label", "target"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "target"), name="tenants_checkpointcursor_unique"
                    )
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name="CheckpointState",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.BigIntegerField(default=0)),
                ("seq", models.BigIntegerField(default=0)),
                ("still", models.BinaryField(default=b"")),
                ("said_at", models.DateTimeField(null=True)),
                ("looked_at", models.DateTimeField()),
                ("fault", models.CharField(blank=True, default="", max_length=500)),
                ("fault_at", models.DateTimeField(null=True)),
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
                "constraints": [
                    models.UniqueConstraint(fields=("tenant",), name="tenants_checkpointstate_unique")
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        row_security("tenants_auditcheckpoint"),
        row_security("tenants_auditverification"),
        row_security("tenants_checkpointcursor"),
        row_security("tenants_checkpointstate"),
        # A key is no team's. It stays what it is; only its seal and its end change.
        grant("SELECT, INSERT, UPDATE (sealed, until)", "tenants_logkey", "marina_app"),
        grant("SELECT, INSERT", "tenants_auditcheckpoint", "marina_app"),
        grant("SELECT, INSERT, UPDATE", "tenants_auditverification", "marina_app"),
        grant("SELECT, INSERT, UPDATE", "tenants_checkpointcursor", "marina_app"),
        grant("SELECT, INSERT, UPDATE", "tenants_checkpointstate", "marina_app"),
        grant(
            "SELECT (tenant_id, id, status, created_at, lease_until)",
            "tenants_auditverification",
            "marina_writer",
        ),
        grant("SELECT", "tenants_checkpointcursor", "marina_writer"),
        grant("SELECT", "tenants_checkpointstate", "marina_writer"),
        migrations.RunSQL(_LOOK, _LOOK_REVERSE),
        migrations.RunSQL(_APPEND_ONLY, _APPEND_ONLY_REVERSE),
    ]
