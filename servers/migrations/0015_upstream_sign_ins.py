"""Who signed in to what a data source stands on, and what Marina is to its authorization server."""

import uuid

import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from tenants.rowsecurity import grant, nameable, row_security, same_tenant

# Who is no member of the team any more has no sign-in of its own there.
_OF_MEMBERS = """
ALTER TABLE servers_upstreamsignin ADD CONSTRAINT servers_upstreamsignin_of_member
FOREIGN KEY (tenant_id, member_id) REFERENCES tenants_membership (tenant_id, user_id) ON DELETE CASCADE
"""
_OF_MEMBERS_REVERSE = "ALTER TABLE servers_upstreamsignin DROP CONSTRAINT servers_upstreamsignin_of_member"


class Migration(migrations.Migration):
    dependencies = [
        ("servers", "0014_tool_schedules"),
        ("tenants", "0023_auditors"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # Foreign keys are added last, when the policies stand: the check of the empty tables asks them.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
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
                    ("needs_sign_in", "Needs Sign In"),
                ],
                default="unknown",
                max_length=16,
            ),
        ),
        migrations.CreateModel(
            name="UpstreamClient",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("issuer", models.CharField(max_length=2048)),
                ("how", models.CharField(max_length=16)),
                ("client_id", models.CharField(max_length=2048)),
                ("method", models.CharField(max_length=32)),
                ("sealed", models.BinaryField(null=True)),
                ("redirect_uri", models.CharField(max_length=2048)),
                ("expires_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="upstream_clients",
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
                "ordering": ["-created_at"],
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
            name="UpstreamSignIn",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("state", models.CharField(choices=[("ready", "Ready"), ("needed", "Needed")], max_length=8)),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("url", models.CharField(max_length=2048)),
                ("issuer", models.CharField(max_length=2048)),
                ("resource", models.CharField(max_length=2048)),
                ("token_endpoint", models.CharField(max_length=2048)),
                ("revocation_endpoint", models.CharField(blank=True, max_length=2048)),
                ("sealed", models.BinaryField()),
                ("number", models.IntegerField(default=1)),
                ("asked", models.JSONField(default=list)),
                ("granted", models.JSONField(default=list)),
                ("missing", models.JSONField(default=list)),
                ("signed_in_by", models.CharField(max_length=200)),
                ("signed_in_at", models.DateTimeField()),
                ("renewed_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(null=True)),
                ("lease", models.UUIDField(null=True)),
                ("leased_until", models.DateTimeField(null=True)),
                (
                    "client",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="servers.upstreamclient",
                    ),
                ),
                (
                    "member",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="sign_ins",
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
                "ordering": ["signed_in_at"],
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
            model_name="upstreamclient",
            constraint=models.CheckConstraint(
                condition=models.Q(("how__in", ["entered", "document", "registered"])),
                name="servers_upstreamclient_how_valid",
            ),
        ),
        migrations.AddConstraint(
            model_name="upstreamsignin",
            constraint=models.UniqueConstraint(
                fields=("source", "member"), name="servers_upstreamsignin_member_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="upstreamsignin",
            constraint=models.UniqueConstraint(
                condition=models.Q(("member__isnull", True)),
                fields=("source",),
                name="servers_upstreamsignin_team_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="upstreamsignin",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["ready", "needed"])),
                name="servers_upstreamsignin_state_valid",
            ),
        ),
        row_security("servers_upstreamclient"),
        row_security("servers_upstreamsignin"),
        nameable("servers_upstreamclient"),
        same_tenant("servers_upstreamclient", "source_id", "servers_datasource"),
        same_tenant("servers_upstreamsignin", "source_id", "servers_datasource"),
        same_tenant("servers_upstreamsignin", "client_id", "servers_upstreamclient"),
        grant("SELECT, INSERT, UPDATE, DELETE", "servers_upstreamclient", "marina_app"),
        grant("SELECT, INSERT, UPDATE, DELETE", "servers_upstreamsignin", "marina_app"),
        migrations.RunSQL(_OF_MEMBERS, _OF_MEMBERS_REVERSE),
    ]
