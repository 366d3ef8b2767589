"""Who had a task cancelled, kept for the worker that ends it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("servers", "0011_tasks")]

    operations = [
        migrations.AddField(
            "task",
            "cancel_reason",
            models.CharField(blank=True, db_default="", default="", max_length=300),
        ),
    ]
