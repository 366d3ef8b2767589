"""What of data sources is in quarantine, and since when their health is what it is."""

import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models

from tenants.rowsecurity import grant, row_security, same_tenant


class Migration(migrations.Migration):
    dependencies = [
        ("servers", "0012_cancel_reason"),
        ("tenants", "0019_export_schedules"),
    ]

    operations = [
        # Foreign keys are added last, when the policies stand: the check of the empty table asks them.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        migrations.AddField(
            model_name="datasource", name="health_since", field=models.DateTimeField(null=True)
        ),
        migrations.AlterField(
            model_name="datasource",
            name="health",
            field=models.CharField(
                choices=[
                    ("unknown", "Unknown"),
                    ("healthy", "Healthy"),
                    ("degraded", "Degraded"),
                    ("unhealthy", "Unhealthy"),
                    ("quarantined", "Quarantined"),
                ],
                default="unknown",
                max_length=16,
            ),
        ),
        migrations.CreateModel(
            name="Quarantine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "what",
                    models.CharField(
                        choices=[("tool", "Tool"), ("resource", "Resource"), ("prompt", "Prompt")],
                        max_length=8,
                    ),
                ),
                ("name", models.CharField(max_length=1024)),
                ("reason", models.CharField(max_length=500)),
                ("since", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="quarantined",
                        to="servers.datasource",
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
                "ordering": ["what", "name"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddConstraint(
            model_name="quarantine",
            constraint=models.UniqueConstraint(
                fields=("source", "what", "name"), name="servers_quarantine_once"
            ),
        ),
        row_security("servers_quarantine"),
        grant("SELECT, INSERT, UPDATE, DELETE", "servers_quarantine", "marina_app"),
        same_tenant("servers_quarantine", "source_id", "servers_datasource"),
    ]
