"""A team may require a second factor of its members; the application keeps and reads people's factors."""

from django.db import migrations, models

from tenants.rowsecurity import grant


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0010_oauth_registered_from"),
        ("mfa", "0003_authenticator_type_uniq"),
        ("account", "0009_emailaddress_unique_primary_email"),
    ]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="require_second_factor",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="membership",
            name="visited_at",
            field=models.DateTimeField(null=True),
        ),
        # No tenant, so no policy: a factor is its person's, in every team of theirs.
        grant("SELECT, INSERT, UPDATE, DELETE", "mfa_authenticator", "marina_app"),
        # Tables that stay empty. Whoever deletes an account looks there.
        grant("SELECT, DELETE", "account_emailaddress", "marina_app"),
        grant("SELECT, DELETE", "account_emailconfirmation", "marina_app"),
    ]
