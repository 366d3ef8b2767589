"""Exports that go on where a worker ended, that can be cancelled, and whose files expire."""

from django.db import migrations, models

# The former table knows neither status. Its rows are seen whole by their owner only while they are not kept from it.
KNOWN_BEFORE = """
ALTER TABLE "tenants_auditexport" NO FORCE ROW LEVEL SECURITY;
UPDATE "tenants_auditexport" SET status = 'failed' WHERE status IN ('cancelled', 'expired');
ALTER TABLE "tenants_auditexport" FORCE ROW LEVEL SECURITY
"""

STATUSES = ["queued", "running", "done", "failed", "cancelled", "expired"]


class Migration(migrations.Migration):
    dependencies = [("tenants", "0017_log_streams")]

    operations = [
        migrations.AddField("auditexport", "tries", models.IntegerField(default=0, db_default=0)),
        migrations.AddField("auditexport", "head_seq", models.BigIntegerField(null=True)),
        migrations.AddField("auditexport", "head_hash", models.BinaryField(null=True)),
        migrations.AddField("auditexport", "first_seq", models.BigIntegerField(null=True)),
        migrations.AddField("auditexport", "last_seq", models.BigIntegerField(null=True)),
        migrations.AddField("auditexport", "looked_at", models.BigIntegerField(default=0, db_default=0)),
        migrations.AlterField(
            "auditexport",
            "status",
            models.CharField(
                choices=[(status, status.title()) for status in STATUSES], default="queued", max_length=16
            ),
        ),
        migrations.RemoveConstraint("auditexport", "tenants_auditexport_status_valid"),
        migrations.AddConstraint(
            "auditexport",
            models.CheckConstraint(
                condition=models.Q(("status__in", STATUSES)), name="tenants_auditexport_status_valid"
            ),
        ),
        migrations.RunSQL(migrations.RunSQL.noop, KNOWN_BEFORE),
    ]
