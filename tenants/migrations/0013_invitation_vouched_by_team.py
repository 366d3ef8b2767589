"""Which invitations the team itself sent, by a key of its own: nobody else's word is needed for them.

Those of before stay without: whether their sender was a key or an account that was deleted is not known, so they have
to be sent again.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0012_trusted_issuers")]

    operations = [
        migrations.AddField(
            model_name="invitation",
            name="vouched_by_team",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
