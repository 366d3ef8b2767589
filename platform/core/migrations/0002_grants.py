"""What web and worker may do with the framework's own tables and the kernel's."""

from django.conf import settings
from django.db import migrations

# The framework's tables carry no tenant. Sessions are random 128-bit keys; the rest is read-only reference.
_GRANTS = """
GRANT SELECT ON core_sealcheck, django_content_type, auth_permission, auth_group, auth_group_permissions
    TO marina_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON django_session TO marina_app;
GRANT SELECT ON django_migrations TO marina_app;
"""

_REVOKE = """
REVOKE ALL ON core_sealcheck, django_content_type, auth_permission, auth_group, auth_group_permissions,
    django_session, django_migrations FROM marina_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0001_initial"),
        ("sessions", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [migrations.RunSQL(_GRANTS, _REVOKE)]
