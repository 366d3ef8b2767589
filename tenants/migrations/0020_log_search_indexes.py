"""Indexes that lead to what went wrong, what a person did, to what was no call, and to what a time range can hold.
Built while the log goes on being written.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Collate


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("tenants", "0019_export_schedules")]

    operations = [
        AddIndexConcurrently(
            model_name="auditrecord",
            index=models.Index(
                models.F("tenant"),
                Collate("actor", "C"),
                models.F("seq"),
                name="tenants_audit_person",
                condition=models.Q(("actor__startswith", "user:")),
            ),
        ),
        AddIndexConcurrently(
            model_name="auditrecord",
            index=models.Index(
                fields=["tenant", "outcome", "seq"],
                name="tenants_audit_not_ok",
                condition=models.Q(("outcome", "ok"), _negated=True),
            ),
        ),
        RemoveIndexConcurrently(model_name="auditrecord", name="tenants_audit_outcome"),
        AddIndexConcurrently(
            model_name="auditrecord",
            index=models.Index(
                fields=["tenant", "kind", "seq"],
                name="tenants_audit_kind",
                condition=models.Q(("kind", "tools/call"), _negated=True),
            ),
        ),
        AddIndexConcurrently(
            model_name="auditcheckpoint",
            index=models.Index(fields=["tenant", "at"], name="tenants_checkpoint_at"),
        ),
    ]
