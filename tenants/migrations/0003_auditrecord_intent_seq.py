"""Which intent a record of the log is the outcome of: a column that costs no rewrite of the table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0002_row_security")]

    operations = [
        migrations.AddField(
            model_name="auditrecord", name="intent_seq", field=models.BigIntegerField(null=True)
        ),
    ]
