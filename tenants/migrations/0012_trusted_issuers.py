"""Outside issuers that a tenant trusts, with row-level security."""

import uuid

import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models

from tenants.rowsecurity import grant, row_security


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0011_require_second_factor"),
    ]

    operations = [
        migrations.CreateModel(
            name="TrustedIssuer",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=40)),
                ("issuer", models.CharField(max_length=255)),
                (
                    "method",
                    models.CharField(
                        choices=[("jwks", "Jwks"), ("introspection", "Introspection")],
                        default="jwks",
                        max_length=16,
                    ),
                ),
                ("jwks_uri", models.CharField(blank=True, default="", max_length=500)),
                ("introspection_endpoint", models.CharField(blank=True, default="", max_length=500)),
                ("client_id", models.CharField(blank=True, default="", max_length=255)),
                ("sealed", models.BinaryField(default=b"")),
                ("audience", models.CharField(blank=True, default="", max_length=500)),
                ("subject_claim", models.CharField(default="sub", max_length=120)),
                ("email_claim", models.CharField(blank=True, default="email", max_length=120)),
                ("scopes_claim", models.CharField(default="scope", max_length=120)),
                ("mapping", models.JSONField(default=list)),
                ("enabled", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("last_used_at", models.DateTimeField(null=True)),
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
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "name"), name="tenants_trustedissuer_name_unique"
                    ),
                    models.UniqueConstraint(
                        fields=("tenant", "issuer"), name="tenants_trustedissuer_issuer_unique"
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("enabled", True), ("method", "introspection")),
                        fields=("tenant",),
                        name="tenants_trustedissuer_one_asked",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("method__in", ["jwks", "introspection"])),
                        name="tenants_trustedissuer_method_valid",
                    ),
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        # Foreign keys are made at the end, and look into the table: no tenant is in scope, which has to be said.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        row_security("tenants_trustedissuer"),
        grant("SELECT, INSERT, UPDATE, DELETE", "tenants_trustedissuer", "marina_app"),
    ]
