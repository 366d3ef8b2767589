"""Single sign-on: a team's identity providers, whom they know, and by which ways a browser was signed in."""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from tenants.rowsecurity import grant, nameable, row_security, same_tenant

_MANAGERS: list[tuple[str, django.db.models.manager.Manager[models.Model]]] = [
    ("objects", django.db.models.manager.Manager()),
    ("directory", django.db.models.manager.Manager()),
]


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0014_same_tenant"),
    ]

    operations = [
        # Foreign keys are added last, when the policies stand: the check of the empty tables asks them.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        migrations.AddField(
            model_name="tenant",
            name="sso_required",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="signin",
            name="by_password",
            field=models.BooleanField(db_default=True, default=True),
        ),
        migrations.AddField(
            model_name="signin",
            name="proofs",
            field=models.JSONField(default=list, null=True),
        ),
        migrations.CreateModel(
            name="IdentityProvider",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=80)),
                ("issuer", models.CharField(max_length=500)),
                ("client_id", models.CharField(max_length=255)),
                ("sealed", models.BinaryField(null=True)),
                (
                    "domains",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=253), size=None
                    ),
                ),
                ("default_role", models.CharField(default="viewer", max_length=16)),
                ("makes_members", models.BooleanField(default=True)),
                ("believes_addresses", models.BooleanField(default=False)),
                ("groups_claim", models.CharField(blank=True, default="", max_length=120)),
                ("group_roles", models.JSONField(default=list)),
                ("enabled", models.BooleanField(default=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
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
                        fields=("tenant", "name"), name="tenants_identityprovider_name_unique"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("default_role__in", ["admin", "editor", "viewer", "auditor"])),
                        name="tenants_identityprovider_role_given",
                    ),
                ],
            },
            managers=_MANAGERS,
        ),
        migrations.CreateModel(
            name="ProviderIdentity",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("subject", models.CharField(max_length=255)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("last_used_at", models.DateTimeField(null=True)),
                (
                    "provider",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="identities",
                        to="tenants.identityprovider",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["created_at", "id"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("provider", "subject"), name="tenants_provideridentity_subject_unique"
                    ),
                    models.UniqueConstraint(
                        fields=("provider", "user"), name="tenants_provideridentity_user_unique"
                    ),
                ],
            },
            managers=_MANAGERS,
        ),
        row_security("tenants_identityprovider"),
        row_security("tenants_provideridentity"),
        # An identity is of its provider's tenant, whatever wrote it.
        nameable("tenants_identityprovider"),
        same_tenant("tenants_provideridentity", "provider_id", "tenants_identityprovider"),
        grant("SELECT, INSERT, UPDATE, DELETE", "tenants_identityprovider", "marina_app"),
        grant("SELECT, INSERT, UPDATE, DELETE", "tenants_provideridentity", "marina_app"),
    ]
