"""Finds the outcome of an intent. Built while the log goes on being written, so it cannot be in a transaction."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("tenants", "0003_auditrecord_intent_seq")]

    operations = [
        AddIndexConcurrently(
            model_name="auditrecord",
            index=models.Index(
                fields=["tenant", "intent_seq"],
                name="tenants_audit_intent",
                condition=models.Q(intent_seq__isnull=False),
            ),
        ),
    ]
