"""Resources and prompts of a team's own stand beside those that sources bring: all that are stored came with one."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("servers", "0005_same_tenant")]

    operations = [
        migrations.AddField(
            model_name=name, name="brought", field=models.BooleanField(db_default=True, default=True)
        )
        for name in ("prompt", "resource")
    ]
