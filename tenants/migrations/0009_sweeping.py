"""What has expired may be deleted: old invitations too."""

from django.db import migrations

from tenants.rowsecurity import grant


class Migration(migrations.Migration):
    dependencies = [("tenants", "0008_oauth_row_security")]

    operations = [grant("DELETE", "tenants_invitation", "marina_app")]
