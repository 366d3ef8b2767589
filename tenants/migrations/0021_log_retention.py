"""How long logs are kept: policies, legal holds, tombstones, and the one way in which records may go."""

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models

from tenants.rowsecurity import grant, row_security

# The worker sees which teams have a policy, and nothing else of them.
_LOOK = """
CREATE POLICY writer ON tenants_logretention FOR SELECT TO marina_writer USING (true);
"""

_LOOK_REVERSE = """
DROP POLICY writer ON tenants_logretention;
"""

# Old enough is what the database itself has had for so long: the time in a checkpoint is what its writer says. It takes
# in none of a record that is still to come, which would be old when that one is new.
_STORED = """
CREATE FUNCTION marina_store_checkpoint() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.seq > 0 AND NOT EXISTS (
        SELECT FROM tenants_auditrecord WHERE tenant_id = NEW.tenant_id AND seq = NEW.seq
    ) THEN
        RAISE EXCEPTION 'a checkpoint is of a record that is there' USING ERRCODE = 'insufficient_privilege';
    END IF;
    NEW.stored_at := now();
    RETURN NEW;
END
$$;
-- Those that were there are believed. By a change of type, which no trigger and no policy takes for a change of rows.
ALTER TABLE tenants_auditcheckpoint ALTER COLUMN stored_at TYPE timestamptz USING at;
CREATE TRIGGER stored BEFORE INSERT ON tenants_auditcheckpoint
    FOR EACH ROW EXECUTE FUNCTION marina_store_checkpoint();
ALTER TABLE tenants_auditcheckpoint ENABLE ALWAYS TRIGGER stored;
"""

_STORED_REVERSE = """
DROP TRIGGER stored ON tenants_auditcheckpoint;
DROP FUNCTION marina_store_checkpoint();
"""

# A tombstone lets records go, so the database itself looks whether it may: whoever writes one has to keep to the
# policy, to what was signed long enough ago, and to every hold. It is seen with the eyes of whoever writes it, so only
# of the team in scope.
_TOMBSTONES = """
CREATE FUNCTION marina_check_tombstone() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    before tenants_audittombstone%ROWTYPE;
BEGIN
    SELECT * INTO before FROM tenants_audittombstone
    WHERE tenant_id = NEW.tenant_id ORDER BY number DESC LIMIT 1;
    IF NEW.number <> coalesce(before.number, 0) + 1 OR NEW.first <> coalesce(before.last, 0) + 1 THEN
        RAISE EXCEPTION 'a tombstone begins where the one before it ends' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (SELECT FROM tenants_logretention WHERE tenant_id = NEW.tenant_id AND days = NEW.days) THEN
        RAISE EXCEPTION 'no policy of the team says so' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (
        SELECT FROM tenants_auditcheckpoint
        WHERE tenant_id = NEW.tenant_id AND seq = NEW.last AND stored_at <= now() - make_interval(days => NEW.days)
    ) OR NOT EXISTS (
        SELECT FROM tenants_auditcheckpoint
        WHERE tenant_id = NEW.tenant_id AND seq > NEW.last AND stored_at < now()
    ) THEN
        RAISE EXCEPTION 'what it names was not signed long enough ago' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NOT EXISTS (
        SELECT FROM tenants_auditrecord WHERE tenant_id = NEW.tenant_id AND seq = NEW.last AND hash = NEW.last_hash
    ) THEN
        RAISE EXCEPTION 'the last record that it names is another one' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (
        SELECT FROM tenants_legalhold h JOIN tenants_auditrecord r ON r.tenant_id = h.tenant_id
            AND r.seq BETWEEN NEW.first AND NEW.last
            AND (h.from_at IS NULL OR r.at >= h.from_at) AND (h.to_at IS NULL OR r.at < h.to_at)
        WHERE h.tenant_id = NEW.tenant_id AND h.lifted_at IS NULL
    ) THEN
        RAISE EXCEPTION 'a legal hold stands' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER checked BEFORE INSERT ON tenants_audittombstone
    FOR EACH ROW EXECUTE FUNCTION marina_check_tombstone();
ALTER TABLE tenants_audittombstone ENABLE ALWAYS TRIGGER checked;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenants_audittombstone
    FOR EACH STATEMENT EXECUTE FUNCTION marina_refuse_change();
ALTER TABLE tenants_audittombstone ENABLE ALWAYS TRIGGER append_only;
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON tenants_legalhold
    FOR EACH STATEMENT EXECUTE FUNCTION marina_refuse_change();
ALTER TABLE tenants_legalhold ENABLE ALWAYS TRIGGER append_only;
"""

_TOMBSTONES_REVERSE = """
DROP TRIGGER append_only ON tenants_legalhold;
DROP TRIGGER append_only ON tenants_audittombstone;
DROP TRIGGER checked ON tenants_audittombstone;
DROP FUNCTION marina_check_tombstone();
"""

# Records that a tombstone names, and no hold, may go: what else was deleted makes the whole statement fail, whoever
# runs it. No role of the application may delete; the function does, as the tables' owner, of the team in scope.
_REMOVAL = """
CREATE FUNCTION marina_check_removal() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM gone g WHERE NOT EXISTS (
            SELECT FROM tenants_audittombstone t
            WHERE t.tenant_id = g.tenant_id AND g.seq BETWEEN t.first AND t.last
        )
    ) THEN
        RAISE EXCEPTION 'the log is append-only: no tombstone says that these records are removed'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (
        SELECT FROM gone g JOIN tenants_legalhold h ON h.tenant_id = g.tenant_id
        WHERE h.lifted_at IS NULL AND (h.from_at IS NULL OR g.at >= h.from_at) AND (h.to_at IS NULL OR g.at < h.to_at)
    ) THEN
        RAISE EXCEPTION 'a legal hold stands' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER append_only ON tenants_auditrecord;
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON tenants_auditrecord
    FOR EACH STATEMENT EXECUTE FUNCTION marina_refuse_change();
ALTER TABLE tenants_auditrecord ENABLE ALWAYS TRIGGER append_only;
CREATE TRIGGER removal AFTER DELETE ON tenants_auditrecord REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION marina_check_removal();
ALTER TABLE tenants_auditrecord ENABLE ALWAYS TRIGGER removal;
CREATE FUNCTION marina_remove_records(first_seq bigint, last_seq bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    removed bigint;
BEGIN
    DELETE FROM tenants_auditrecord
    WHERE tenant_id = current_setting('app.tenant')::bigint AND seq BETWEEN first_seq AND last_seq;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END
$$;
REVOKE ALL ON FUNCTION marina_remove_records(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marina_remove_records(bigint, bigint) TO marina_app;
"""

_REMOVAL_REVERSE = """
DROP FUNCTION marina_remove_records(bigint, bigint);
DROP TRIGGER removal ON tenants_auditrecord;
DROP TRIGGER append_only ON tenants_auditrecord;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tenants_auditrecord
    FOR EACH STATEMENT EXECUTE FUNCTION marina_refuse_change();
ALTER TABLE tenants_auditrecord ENABLE ALWAYS TRIGGER append_only;
DROP FUNCTION marina_check_removal();
"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0020_log_search_indexes")]

    operations = [
        # Foreign keys are added last, when the policies stand: the check of the empty tables asks them.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="AuditTombstone",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id", "number", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("number", models.BigIntegerField()),
                ("first", models.BigIntegerField()),
                ("last", models.BigIntegerField()),
                ("last_hash", models.BinaryField()),
                ("days", models.IntegerField()),
                ("at", models.DateTimeField()),
                ("note", models.BinaryField()),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-number"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "indexes": [models.Index(fields=["tenant", "last"], name="tenants_tombstone_last")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("first__gte", 1), ("last__gte", models.F("first")), ("number__gte", 1)
                        ),
                        name="tenants_tombstone_counted",
                    )
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name="LegalHold",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("reason", models.CharField(max_length=500)),
                ("from_at", models.DateTimeField(null=True)),
                ("to_at", models.DateTimeField(null=True)),
                ("placed_by", models.CharField(max_length=200)),
                ("placed_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("lifted_by", models.CharField(blank=True, default="", max_length=200)),
                ("lifted_at", models.DateTimeField(null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["-placed_at", "id"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        migrations.CreateModel(
            name="LogRetention",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("days", models.IntegerField(null=True)),
                ("looked_at", models.DateTimeField(null=True)),
                ("waits", models.CharField(blank=True, default="", max_length=500)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
                "constraints": [
                    models.UniqueConstraint(fields=("tenant",), name="tenants_logretention_unique"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("days__isnull", True),
                            models.Q(("days__gte", 30), ("days__lte", 36500)),
                            _connector="OR",
                        ),
                        name="tenants_logretention_days_valid",
                    ),
                ],
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddField(
            model_name="checkpointcursor",
            name="tombstone",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        row_security("tenants_audittombstone"),
        row_security("tenants_legalhold"),
        row_security("tenants_logretention"),
        grant("SELECT, INSERT", "tenants_audittombstone", "marina_app"),
        # A hold is lifted, never changed or forgotten.
        grant("SELECT, INSERT, UPDATE (lifted_at, lifted_by)", "tenants_legalhold", "marina_app"),
        grant("SELECT, INSERT, UPDATE", "tenants_logretention", "marina_app"),
        grant("SELECT (tenant_id)", "tenants_logretention", "marina_writer"),
        migrations.RunSQL(_LOOK, _LOOK_REVERSE),
        migrations.AddField(
            model_name="auditcheckpoint",
            name="stored_at",
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
        ),
        migrations.RunSQL(_STORED, _STORED_REVERSE),
        migrations.RunSQL(_TOMBSTONES, _TOMBSTONES_REVERSE),
        migrations.RunSQL(_REMOVAL, _REMOVAL_REVERSE),
    ]
