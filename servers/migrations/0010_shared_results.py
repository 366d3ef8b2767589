"""How a tool's calls share results: for how long one is kept, and whether calls made at once run once."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("servers", "0009_secrets")]

    operations = [
        migrations.AddField("tool", "cache_seconds", models.IntegerField(db_default=0, default=0)),
        migrations.AddField("tool", "cache_generation", models.IntegerField(db_default=0, default=0)),
        migrations.AddField("tool", "collapses", models.BooleanField(db_default=True, default=True)),
        migrations.AddConstraint(
            "tool",
            models.CheckConstraint(
                condition=Q(cache_seconds__gte=0, cache_seconds__lte=86_400),
                name="servers_tool_cache_seconds_valid",
            ),
        ),
    ]
