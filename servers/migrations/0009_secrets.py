"""Secrets that a team names, and the settings of data sources that have one for their value."""

import uuid

import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models

from tenants.rowsecurity import grant, nameable, row_security, same_tenant


class Migration(migrations.Migration):
    dependencies = [
        ("servers", "0008_served_versions"),
        ("tenants", "0015_single_sign_on"),
    ]

    operations = [
        # Foreign keys are added last, when the policies stand: the check of the empty tables asks them.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="Secret",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=64)),
                (
                    "origin",
                    models.CharField(
                        choices=[
                            ("stored", "Stored"),
                            ("environment", "Environment"),
                            ("file", "File"),
                            ("vault", "Vault"),
                        ],
                        max_length=16,
                    ),
                ),
                ("place", models.JSONField(default=dict)),
                ("sealed", models.BinaryField(null=True)),
                ("version", models.IntegerField(default=1)),
                (
                    "state",
                    models.CharField(
                        choices=[("ready", "Ready"), ("stale", "Stale"), ("unavailable", "Unavailable")],
                        default="ready",
                        max_length=16,
                    ),
                ),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("read_at", models.DateTimeField(null=True)),
                ("checked_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["name"],
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
            name="SecretUse",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("setting", models.CharField(max_length=64)),
                (
                    "secret",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.RESTRICT, related_name="uses", to="servers.secret"
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="secret_uses",
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
                "ordering": ["source", "setting"],
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
            model_name="secret",
            constraint=models.UniqueConstraint(fields=("tenant", "name"), name="servers_secret_name_unique"),
        ),
        migrations.AddConstraint(
            model_name="secret",
            constraint=models.CheckConstraint(
                condition=models.Q(("name__regex", "^[a-z0-9](?:-?[a-z0-9]){0,63}$")),
                name="servers_secret_name_valid",
            ),
        ),
        migrations.AddConstraint(
            model_name="secret",
            constraint=models.CheckConstraint(
                condition=models.Q(("origin__in", ["stored", "environment", "file", "vault"])),
                name="servers_secret_origin_valid",
            ),
        ),
        migrations.AddConstraint(
            model_name="secret",
            constraint=models.CheckConstraint(
                condition=models.Q(("sealed__isnull", False), ("state", "unavailable"), _connector="OR"),
                name="servers_secret_state_true",
            ),
        ),
        migrations.AddConstraint(
            model_name="secretuse",
            constraint=models.UniqueConstraint(
                fields=("source", "setting"), name="servers_secretuse_setting_unique"
            ),
        ),
        *(row_security(table) for table in ("servers_secret", "servers_secretuse")),
        *(
            grant("SELECT, INSERT, UPDATE, DELETE", table, "marina_app")
            for table in ("servers_secret", "servers_secretuse")
        ),
        nameable("servers_secret"),
        same_tenant("servers_secretuse", "secret_id", "servers_secret"),
        same_tenant("servers_secretuse", "source_id", "servers_datasource"),
    ]
