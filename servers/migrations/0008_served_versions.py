"""Versions of tools that a server offers otherwise than as the current ones: pinned, beside, as canaries."""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

from tenants.rowsecurity import grant, row_security, same_tenant

TABLE = "servers_servedversion"
KEYS = (("server_id", "servers_server"), ("tool_id", "servers_tool"), ("version_id", "servers_toolversion"))


class Migration(migrations.Migration):
    dependencies = [
        ("servers", "0007_states_of_versions"),
        ("tenants", "0015_single_sign_on"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ServedVersion",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "use",
                    models.CharField(
                        choices=[("pin", "Pin"), ("beside", "Beside"), ("canary", "Canary")], max_length=16
                    ),
                ),
                ("share", models.IntegerField(null=True)),
                (
                    "credentials",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), default=list, size=None
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                (
                    "created_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "server",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="servers.server"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
                (
                    "tool",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="servers.tool"
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.RESTRICT,
                        related_name="+",
                        to="servers.toolversion",
                    ),
                ),
            ],
            options={
                "ordering": ["server__slug", "tool__name", "use", "version__number"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("use__in", ["pin", "canary"])),
                        fields=("server", "tool", "use"),
                        name="servers_servedversion_use_unique",
                    ),
                    models.UniqueConstraint(
                        condition=models.Q(("use", "beside")),
                        fields=("server", "version"),
                        name="servers_servedversion_beside_unique",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("credentials__len__gt", 0), ("share__isnull", True), ("use", "canary")),
                            models.Q(
                                ("share__gte", 1),
                                ("share__isnull", False),
                                ("share__lte", 100),
                                ("use", "canary"),
                            ),
                            models.Q(
                                ("credentials__len", 0),
                                ("share__isnull", True),
                                ("use__in", ["pin", "beside"]),
                            ),
                            _connector="OR",
                        ),
                        name="servers_servedversion_canary_valid",
                    ),
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        row_security(TABLE),
        grant("SELECT, INSERT, UPDATE, DELETE", TABLE, "marina_app"),
        *(same_tenant(TABLE, *key) for key in KEYS),
    ]
