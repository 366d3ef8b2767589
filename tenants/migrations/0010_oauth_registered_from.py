"""Which address block a client was registered from: registrations that wait are shared out by it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0009_sweeping")]

    operations = [
        migrations.AddField(
            model_name="oauthclient",
            name="registered_from",
            field=models.CharField(db_default="", default="", max_length=50),
        ),
    ]
