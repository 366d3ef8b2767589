"""Long work: tasks, their turns at the workers, and which tools run there."""

import uuid

import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models

from tenants.rowsecurity import grant, row_security


class Migration(migrations.Migration):
    dependencies = [
        ("servers", "0010_shared_results"),
        ("tenants", "0015_single_sign_on"),
    ]

    operations = [
        # Foreign keys are added last, when the policies stand: the check of the empty table asks them.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="Task",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("working", "Working"),
                            ("input_required", "Input Required"),
                            ("completed", "Completed"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="working",
                        max_length=16,
                    ),
                ),
                ("server", models.CharField(max_length=40)),
                ("tool", models.CharField(max_length=140)),
                ("tool_version", models.IntegerField()),
                ("actor", models.CharField(max_length=200)),
                ("principal", models.CharField(blank=True, max_length=200)),
                ("credential_id", models.UUIDField(null=True)),
                ("client", models.CharField(blank=True, max_length=200)),
                ("request_id", models.CharField(blank=True, max_length=64)),
                ("idempotency_key", models.CharField(max_length=200, null=True)),
                ("sealed", models.BinaryField()),
                ("repeatable", models.BooleanField(default=False)),
                ("begun", models.BooleanField(default=False)),
                ("runs", models.SmallIntegerField(default=0)),
                ("intent_seq", models.BigIntegerField(null=True)),
                ("seconds", models.FloatField()),
                ("progress", models.FloatField(null=True)),
                ("total", models.FloatField(null=True)),
                ("message", models.CharField(blank=True, max_length=500)),
                ("asks", models.JSONField(default=dict)),
                ("sealed_answers", models.BinaryField(null=True)),
                ("sealed_result", models.BinaryField(null=True)),
                ("ttl_ms", models.BigIntegerField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField()),
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
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name="Turn",
            fields=[
                ("task_id", models.UUIDField(primary_key=True, serialize=False)),
                ("of_tenant", models.BigIntegerField()),
                ("priority", models.SmallIntegerField(default=0)),
                ("since", models.DateTimeField(default=django.utils.timezone.now)),
                ("claim", models.UUIDField(null=True)),
                ("worker", models.CharField(blank=True, max_length=80)),
                ("lease_until", models.DateTimeField(null=True)),
                ("cancelled", models.BooleanField(default=False)),
            ],
        ),
        migrations.AddField(
            model_name="tool",
            name="deadline",
            field=models.IntegerField(null=True),
        ),
        migrations.AddField(
            model_name="tool",
            name="runs",
            field=models.CharField(
                choices=[("automatic", "Automatic"), ("inline", "Inline"), ("worker", "Worker")],
                db_default="automatic",
                default="automatic",
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="tool",
            constraint=models.CheckConstraint(
                condition=models.Q(("runs__in", ["automatic", "inline", "worker"])),
                name="servers_tool_runs_valid",
            ),
        ),
        migrations.AddConstraint(
            model_name="tool",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("deadline__isnull", True),
                    models.Q(("deadline__gte", 1), ("deadline__lte", 86400)),
                    _connector="OR",
                ),
                name="servers_tool_deadline_valid",
            ),
        ),
        migrations.AddIndex(
            model_name="turn",
            index=models.Index(
                condition=models.Q(("claim__isnull", True)),
                fields=["of_tenant", "-priority", "since"],
                name="servers_turn_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="turn",
            index=models.Index(
                condition=models.Q(("claim__isnull", False)), fields=["of_tenant"], name="servers_turn_taken"
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["tenant", "-created_at"], name="servers_task_newest"),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("status__in", ["working", "input_required"])),
                fields=["tenant"],
                name="servers_task_open",
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(fields=["expires_at"], name="servers_task_expires"),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(("idempotency_key__isnull", False)),
                fields=("tenant", "principal", "idempotency_key"),
                name="servers_task_idempotency_unique",
            ),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["working", "input_required", "completed", "failed", "cancelled"])
                ),
                name="servers_task_status_valid",
            ),
        ),
        row_security("servers_task"),
        grant("SELECT, INSERT, UPDATE, DELETE", "servers_task", "marina_app"),
        grant("SELECT, INSERT, UPDATE, DELETE", "servers_turn", "marina_app"),
    ]
