"""Drafts, and versions that a tool was rolled back from: a version has a state, the one thing of it that changes."""

from django.db import migrations, models

_REFUSE = """
CREATE OR REPLACE FUNCTION marina_refuse_version_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(NEW) - {but} IS DISTINCT FROM to_jsonb(OLD) - {but} THEN
        RAISE EXCEPTION 'a tool version is immutable: make a new version'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("servers", "0006_made_by_hand")]

    operations = [
        migrations.AddField(
            model_name="toolversion",
            name="state",
            field=models.CharField(
                choices=[
                    ("draft", "Draft"),
                    ("published", "Published"),
                    ("withdrawn", "Withdrawn"),
                    ("discarded", "Discarded"),
                ],
                db_default="published",
                default="published",
                max_length=16,
            ),
        ),
        migrations.AddConstraint(
            model_name="toolversion",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["draft", "published", "withdrawn", "discarded"])),
                name="servers_toolversion_state_valid",
            ),
        ),
        migrations.RunSQL(
            _REFUSE.format(but="ARRAY['created_by_id', 'state']"), _REFUSE.format(but="'created_by_id'")
        ),
    ]
