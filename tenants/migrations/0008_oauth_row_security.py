"""Row-level security and grants of OAuth's tables. No look-up comes before the tenant: each address names it."""

from django.db import migrations

from tenants.rowsecurity import grant, row_security

TABLES = (
    "tenants_oauthclient",
    "tenants_oauthauthorization",
    "tenants_oauthcode",
    "tenants_oauthaccesstoken",
    "tenants_oauthrefreshtoken",
)


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_oauth")]

    operations = [
        *(row_security(table) for table in TABLES),
        *(grant("SELECT, INSERT, UPDATE, DELETE", table, "marina_app") for table in TABLES),
    ]
