"""What a check found of each of the servers behind a source."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("servers", "0015_upstream_sign_ins"),
    ]

    operations = [
        migrations.AddField(
            model_name="datasource",
            name="health_parts",
            field=models.JSONField(db_default=[], default=list),
        ),
    ]
