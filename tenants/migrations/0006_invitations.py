"""Invitations, memberships that end, and people's sign-ins."""

import uuid

import django.db.models.deletion
import django.db.models.functions.text
import django.db.models.manager
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from tenants.rowsecurity import grant, row_security


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0005_api_key_rights"),
    ]

    operations = [
        migrations.AddField(
            model_name="membership",
            name="ends_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.CreateModel(
            name="SignIn",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("address", models.CharField(max_length=64)),
                ("browser", models.CharField(blank=True, max_length=300)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("seen_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
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
                "ordering": ["-seen_at", "id"],
            },
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("email", models.EmailField(max_length=254)),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("owner", "Owner"),
                            ("admin", "Admin"),
                            ("editor", "Editor"),
                            ("viewer", "Viewer"),
                            ("auditor", "Auditor"),
                        ],
                        max_length=16,
                    ),
                ),
                ("access_ends_at", models.DateTimeField(null=True)),
                ("digest", models.BinaryField(unique=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("sent_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField()),
                ("accepted_at", models.DateTimeField(null=True)),
                ("withdrawn_at", models.DateTimeField(null=True)),
                (
                    "invited_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
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
                "ordering": ["-created_at", "id"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "indexes": [models.Index(fields=["email"], name="tenants_invitation_email")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("accepted_at__isnull", True), ("withdrawn_at__isnull", True)),
                        fields=("tenant", "email"),
                        name="tenants_invitation_one_open",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("email", django.db.models.functions.text.Lower("email"))),
                        name="tenants_invitation_email_lower",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("role__in", ["owner", "admin", "editor", "viewer", "auditor"])),
                        name="tenants_invitation_role_valid",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("accepted_at__isnull", True), ("withdrawn_at__isnull", True), _connector="OR"
                        ),
                        name="tenants_invitation_ends_once",
                    ),
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        row_security(
            "tenants_invitation",
            # Whoever holds the link, or the account with the address that it went to.
            also_readable="digest = decode(nullif(current_setting('app.invitation', true), ''), 'hex') "
            "OR email = nullif(current_setting('app.email', true), '')",
        ),
        grant("SELECT, INSERT, UPDATE", "tenants_invitation", "marina_app"),
        # No tenant, so no policy: a sign-in is its person's, and outlives every team of theirs.
        grant("SELECT, INSERT, UPDATE, DELETE", "tenants_signin", "marina_app"),
    ]
