"""What API keys depend on and are bound to: their maker, networks, mode and predecessor; and where they were last used.

A look-up of a key by its digest may read its maker's membership too. Keys that keys have made have no maker yet: they
may do nothing until they are rolled.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models
from django.db.models.deletion import SET_NULL

# The inner query is asked once a statement: it depends on no row of the outer one.
_MAKER = """
CREATE POLICY maker ON tenants_membership FOR SELECT USING (
    (tenant_id, user_id) = (
        SELECT made.tenant_id, made.created_by_id FROM tenants_apikey made
        WHERE made.digest = decode(nullif(current_setting('app.key', true), ''), 'hex')
    )
);
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0004_auditrecord_intent_index")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="last_used_from",
            field=models.CharField(db_default="", default="", max_length=45),
        ),
        migrations.AddField(
            model_name="apikey",
            name="made_with",
            field=models.ForeignKey(null=True, on_delete=SET_NULL, related_name="+", to="tenants.apikey"),
        ),
        migrations.AddField(
            model_name="apikey",
            name="mode",
            field=models.CharField(
                choices=[("live", "Live"), ("test", "Test")], db_default="live", default="live", max_length=4
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="networks",
            field=ArrayField(models.CharField(max_length=43), db_default=[], default=list, size=None),
        ),
        migrations.AddField(
            model_name="apikey",
            name="predecessor",
            field=models.OneToOneField(
                null=True, on_delete=SET_NULL, related_name="successor", to="tenants.apikey"
            ),
        ),
        migrations.AddField(model_name="apikey", name="replaced_at", field=models.DateTimeField(null=True)),
        migrations.AddField(
            model_name="apikey",
            name="team_owned",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(mode__in=["live", "test"]), name="tenants_apikey_mode_valid"
            ),
        ),
        migrations.RunSQL(_MAKER, "DROP POLICY maker ON tenants_membership;"),
    ]
