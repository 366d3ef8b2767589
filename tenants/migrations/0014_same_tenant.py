"""What a tenant's row points at is the same tenant's: keys of both columns beneath row-level security."""

from django.db import migrations

from tenants.rowsecurity import nameable, same_tenant

TARGETS = ("tenants_apikey", "tenants_oauthclient", "tenants_oauthauthorization")
KEYS = (
    ("tenants_apikey", "made_with_id", "tenants_apikey"),
    ("tenants_apikey", "predecessor_id", "tenants_apikey"),
    ("tenants_oauthauthorization", "client_id", "tenants_oauthclient"),
    ("tenants_oauthcode", "application_id", "tenants_oauthclient"),
    ("tenants_oauthcode", "authorization_id", "tenants_oauthauthorization"),
    ("tenants_oauthaccesstoken", "application_id", "tenants_oauthclient"),
    ("tenants_oauthaccesstoken", "authorization_id", "tenants_oauthauthorization"),
    ("tenants_oauthrefreshtoken", "application_id", "tenants_oauthclient"),
    ("tenants_oauthrefreshtoken", "authorization_id", "tenants_oauthauthorization"),
)


class Migration(migrations.Migration):
    dependencies = [("tenants", "0013_invitation_vouched_by_team")]

    operations = [
        *(nameable(target) for target in TARGETS),
        *(same_tenant(*key) for key in KEYS),
    ]
