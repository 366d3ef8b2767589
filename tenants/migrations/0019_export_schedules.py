"""Exports by a schedule, put into buckets, with row-level security."""

import uuid

import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models

from tenants.rowsecurity import grant, nameable, row_security, same_tenant

DELIVERIES = ["waiting", "delivered", "failed"]


class Migration(migrations.Migration):
    dependencies = [("tenants", "0018_exports")]

    operations = [
        # Foreign keys are made at the end, and look into the table: no tenant is in scope, which has to be said.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="ExportSchedule",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=80)),
                ("format", models.CharField(max_length=16)),
                ("filters", models.JSONField(default=dict)),
                (
                    "every",
                    models.CharField(
                        choices=[
                            (every, every.title()) for every in ("hourly", "daily", "weekly", "monthly")
                        ],
                        max_length=8,
                    ),
                ),
                ("hour", models.SmallIntegerField(default=0)),
                ("minute", models.SmallIntegerField(default=0)),
                ("weekday", models.SmallIntegerField(default=0)),
                ("day", models.SmallIntegerField(default=1)),
                ("endpoint", models.CharField(max_length=300)),
                ("region", models.CharField(max_length=64)),
                ("bucket", models.CharField(max_length=63)),
                ("prefix", models.CharField(blank=True, max_length=512)),
                ("access_key", models.CharField(max_length=128)),
                ("sealed", models.BinaryField()),
                ("enabled", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("covered_seq", models.BigIntegerField(default=0)),
                ("next_at", models.DateTimeField()),
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
                    models.UniqueConstraint(
                        fields=("tenant", "name"), name="tenants_exportschedule_name_unique"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("every__in", ["hourly", "daily", "weekly", "monthly"]),
                            ("hour__range", (0, 23)),
                            ("minute__range", (0, 59)),
                            ("day__range", (1, 28)),
                            ("weekday__range", (0, 6)),
                        ),
                        name="tenants_exportschedule_time_valid",
                    ),
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddField(
            "auditexport",
            "delivery",
            models.CharField(
                blank=True,
                choices=[(each, each.title()) for each in DELIVERIES],
                db_default="",
                default="",
                max_length=16,
            ),
        ),
        migrations.AddField("auditexport", "delivery_tries", models.IntegerField(db_default=0, default=0)),
        migrations.AddField("auditexport", "deliver_at", models.DateTimeField(null=True)),
        migrations.AddField(
            "auditexport",
            "delivery_error",
            models.CharField(blank=True, db_default="", default="", max_length=300),
        ),
        migrations.AddField(
            "auditexport",
            "delivery_key",
            models.CharField(blank=True, db_default="", default="", max_length=800),
        ),
        migrations.AddField(
            "auditexport", "by_numbers", models.BooleanField(db_default=False, default=False)
        ),
        row_security("tenants_exportschedule"),
        grant("SELECT, INSERT, UPDATE, DELETE", "tenants_exportschedule", "marina_app"),
        nameable("tenants_exportschedule"),
        migrations.AddField(
            "auditexport",
            "schedule",
            models.ForeignKey(
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="tenants.exportschedule",
            ),
        ),
        same_tenant("tenants_auditexport", "schedule_id", "tenants_exportschedule"),
    ]
