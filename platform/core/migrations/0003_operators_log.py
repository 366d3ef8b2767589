"""What the web process may do with the journal of Django's admin: read it and add to it."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("core", "0002_grants"),
        ("admin", "0003_logentry_add_action_flag_choices"),
    ]

    operations = [
        migrations.RunSQL(
            "GRANT SELECT, INSERT ON django_admin_log TO marina_app",
            "REVOKE ALL ON django_admin_log FROM marina_app",
        )
    ]
