"""When rounds of scheduled work last began and ended. Of no tenant."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("core", "0003_operators_log")]

    operations = [
        migrations.CreateModel(
            name="Round",
            fields=[
                ("name", models.CharField(max_length=100, primary_key=True, serialize=False)),
                ("begun_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.RunSQL(
            "GRANT SELECT, INSERT, UPDATE ON core_round TO marina_app",
            "REVOKE ALL ON core_round FROM marina_app",
        ),
    ]
