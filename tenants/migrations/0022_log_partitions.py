"""The records' table by months. What was there becomes its first partition as it is; nothing is copied.

Partitions have the primary key (tenant, number) each; the whole has none, since it would have to hold the time, too.
That no number is given twice is the work of the head's row, which every writer moves with its records.
"""

from time import sleep

from django.db import OperationalError, migrations, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

_RULES = "tenant_id = (SELECT current_setting(''app.tenant'')::bigint)"

# Gives a table of records what holds for all of them. Nobody is granted anything: the whole is, and asks its policies.
_DRESS = f"""
CREATE OR REPLACE FUNCTION marina_dress_partition(part text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
    EXECUTE format('CREATE POLICY tenant ON %I USING ({_RULES}) WITH CHECK ({_RULES})', part);
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON %I '
        'FOR EACH STATEMENT EXECUTE FUNCTION marina_refuse_change()', part);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER append_only', part);
    EXECUTE format('CREATE TRIGGER removal AFTER DELETE ON %I REFERENCING OLD TABLE AS gone '
        'FOR EACH STATEMENT EXECUTE FUNCTION marina_check_removal()', part);
    EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER removal', part);
END
$$;
REVOKE ALL ON FUNCTION marina_dress_partition(text) FROM PUBLIC;
"""

# By attaching, which the writer does not wait for: making one inside of the whole would lock all of it.
_MAKE = """
CREATE OR REPLACE FUNCTION marina_make_log_partitions(months integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET timezone = 'UTC' SET lock_timeout = '1s' AS $$
DECLARE
    month timestamptz;
    part text;
    made integer := 0;
BEGIN
    FOR ahead IN 0 .. least(months, 24) LOOP
        month := date_trunc('month', now()) + make_interval(months => ahead);
        part := 'tenants_auditrecord_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass(part) IS NOT NULL OR month < (
            SELECT upto FROM marina_log_partitions() WHERE name = 'tenants_auditrecord_before'
        );
        BEGIN
            EXECUTE format('CREATE TABLE %I (LIKE tenants_auditrecord INCLUDING DEFAULTS INCLUDING STORAGE, '
                'CONSTRAINT %I PRIMARY KEY (tenant_id, seq))', part, part || '_pkey');
            PERFORM marina_dress_partition(part);
            EXECUTE format('ALTER TABLE tenants_auditrecord ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                part, month, month + interval '1 month');
            made := made + 1;
        EXCEPTION WHEN check_violation OR lock_not_available THEN
            -- Records of that month lie in the default partition already, and stay there; or somebody reads for long,
            -- and the next look tries again.
            RAISE WARNING 'no partition % of the log made', part;
        END;
    END LOOP;
    RETURN made;
END
$$;
REVOKE ALL ON FUNCTION marina_make_log_partitions(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marina_make_log_partitions(integer) TO marina_app;
"""

_LIST = """
CREATE OR REPLACE FUNCTION marina_log_partitions() RETURNS TABLE (name text, upto timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT c.relname::text,
        (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''([^'']+)''\\)'))[1]::timestamptz
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'public.tenants_auditrecord'::regclass
$$;
REVOKE ALL ON FUNCTION marina_log_partitions() FROM PUBLIC;
"""

_DROP = """
CREATE OR REPLACE FUNCTION marina_drop_empty_log_partitions() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    part text;
    empty boolean;
    dropped integer := 0;
BEGIN
    FOR part IN SELECT name FROM marina_log_partitions() WHERE upto < now() - interval '32 days'
        AND name <> 'tenants_auditrecord_before'
    LOOP
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', part);
        -- Row-level security hides other teams' records from the owner, too: for this look it does not, and nobody else
        -- can look meanwhile.
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I)', part) INTO empty;
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', part);
        IF empty THEN
            EXECUTE format('ALTER TABLE tenants_auditrecord DETACH PARTITION %I', part);
            EXECUTE format('DROP TABLE %I', part);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END
$$;
REVOKE ALL ON FUNCTION marina_drop_empty_log_partitions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marina_drop_empty_log_partitions() TO marina_app;
"""

# Old code goes on writing and reading meanwhile. The bound is proven first, without a lock that writers wait for. The
# statements that they do wait for are short, each in a transaction of its own, and give up where somebody reads for
# long.
_HIDE = "ALTER TABLE tenants_auditrecord FORCE ROW LEVEL SECURITY"

# The owner sees all teams' records for the look at their times. No role of the application is the owner.
_SHOW = "ALTER TABLE tenants_auditrecord NO FORCE ROW LEVEL SECURITY"

# At least four weeks ahead: as long as it stands and the table is not converted, later records would be refused.
_LOOK = """
SELECT (date_trunc('month', (greatest(max(at), now()) + interval '28 days') AT TIME ZONE 'UTC') + interval '1 month')
    AT TIME ZONE 'UTC'
FROM tenants_auditrecord
"""

_BOUND = "ALTER TABLE tenants_auditrecord ADD CONSTRAINT tenants_auditrecord_upto CHECK (at < {}) NOT VALID"

_UNBOUND = "ALTER TABLE tenants_auditrecord DROP CONSTRAINT IF EXISTS tenants_auditrecord_upto"

_VALIDATE = "ALTER TABLE tenants_auditrecord VALIDATE CONSTRAINT tenants_auditrecord_upto"

_CONVERT = """
DO $$
DECLARE
    bound text;
    index record;
    indexes text[] := '{}';
BEGIN
    SET LOCAL timezone = 'UTC';
    LOCK TABLE tenants_auditrecord IN ACCESS EXCLUSIVE MODE;
    SELECT (regexp_match(pg_get_constraintdef(oid), '''([^'']+)'''))[1] INTO bound
    FROM pg_constraint WHERE conname = 'tenants_auditrecord_upto';
    FOR index IN SELECT indexname, indexdef FROM pg_indexes
        WHERE tablename = 'tenants_auditrecord' AND indexname <> 'tenants_auditrecord_pkey'
    LOOP
        indexes := indexes || index.indexdef;
        EXECUTE format('ALTER INDEX %I RENAME TO %I', index.indexname, index.indexname || '_before');
    END LOOP;
    ALTER TABLE tenants_auditrecord RENAME TO tenants_auditrecord_before;
    REVOKE ALL ON tenants_auditrecord_before FROM marina_app, marina_writer;
    CREATE TABLE tenants_auditrecord (LIKE tenants_auditrecord_before INCLUDING DEFAULTS INCLUDING STORAGE)
        PARTITION BY RANGE (at);
    PERFORM marina_dress_partition('tenants_auditrecord');
    CREATE POLICY writer_reads ON tenants_auditrecord FOR SELECT TO marina_writer USING (true);
    CREATE POLICY writer_appends ON tenants_auditrecord FOR INSERT TO marina_writer WITH CHECK (true);
    GRANT SELECT, INSERT ON tenants_auditrecord TO marina_app, marina_writer;
    EXECUTE format('ALTER TABLE tenants_auditrecord ATTACH PARTITION tenants_auditrecord_before '
        'FOR VALUES FROM (MINVALUE) TO (%L)', bound);
    ALTER TABLE tenants_auditrecord_before DROP CONSTRAINT tenants_auditrecord_upto;
    CREATE TABLE tenants_auditrecord_other (LIKE tenants_auditrecord INCLUDING DEFAULTS INCLUDING STORAGE,
        CONSTRAINT tenants_auditrecord_other_pkey PRIMARY KEY (tenant_id, seq));
    PERFORM marina_dress_partition('tenants_auditrecord_other');
    ALTER TABLE tenants_auditrecord ATTACH PARTITION tenants_auditrecord_other DEFAULT;
    FOR i IN 1 .. coalesce(array_length(indexes, 1), 0) LOOP
        EXECUTE indexes[i];
    END LOOP;
    PERFORM marina_make_log_partitions(3);
END
$$
"""

_CONVERT_REVERSE = r"""
DO $$
DECLARE
    part text;
    parts text[];
    index record;
BEGIN
    LOCK TABLE tenants_auditrecord IN ACCESS EXCLUSIVE MODE;
    SELECT array_agg(name) INTO parts FROM marina_log_partitions();
    FOREACH part IN ARRAY parts LOOP
        EXECUTE format('ALTER TABLE tenants_auditrecord DETACH PARTITION %I', part);
        EXECUTE format('ALTER TABLE %I NO FORCE ROW LEVEL SECURITY', part);
    END LOOP;
    FOREACH part IN ARRAY parts LOOP
        CONTINUE WHEN part = 'tenants_auditrecord_before';
        EXECUTE format('INSERT INTO tenants_auditrecord_before SELECT * FROM %I', part);
        EXECUTE format('DROP TABLE %I', part);
    END LOOP;
    DROP TABLE tenants_auditrecord;
    ALTER TABLE tenants_auditrecord_before FORCE ROW LEVEL SECURITY;
    ALTER TABLE tenants_auditrecord_before RENAME TO tenants_auditrecord;
    GRANT SELECT, INSERT ON tenants_auditrecord TO marina_app, marina_writer;
    FOR index IN SELECT indexname FROM pg_indexes
        WHERE tablename = 'tenants_auditrecord' AND indexname LIKE '%\_before'
    LOOP
        EXECUTE format('ALTER INDEX %I RENAME TO %I', index.indexname,
            regexp_replace(index.indexname, '_before$', ''));
    END LOOP;
END
$$
"""


LOCK_SECONDS = 5
"""So long a statement waits for its lock at most, and with it whoever writes."""

PAUSE_SECONDS = 5
"""So long writers have their turn before it is tried again."""

TRIES = 8

_NOT_NOW = ("55P03", "40P01")  # lock_not_available, deadlock_detected
_BUSY = (
    "The log's table could not be locked: somebody reads or dumps it for long. Nothing is lost, and old code goes on. "
    "Run migrate again when that has ended."
)


def _run(connection: BaseDatabaseWrapper, *statements: str) -> None:
    """Run these in one transaction, several times where somebody holds their lock."""
    for left in reversed(range(TRIES)):
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute(
                    "SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_SECONDS * 1000:.0f}ms"]
                )
                for statement in statements:
                    cursor.execute(statement)
            return
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) not in _NOT_NOW:
                raise
            if not left:
                raise OperationalError(_BUSY) from error
        sleep(PAUSE_SECONDS)


def partition(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make the table the first partition of itself. Where that fails, old code works as before, and so does a second
    try, whatever the first one left."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        cursor.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = 'tenants_auditrecord'::regclass")
        if cursor.fetchone()[0]:
            return
    _run(connection, _UNBOUND, _SHOW)
    try:
        with connection.cursor() as cursor:
            cursor.execute(_LOOK)
            upto = cursor.fetchone()[0].isoformat()
    finally:
        _run(connection, _HIDE)
    try:
        _run(connection, _BOUND.format(f"'{upto}'"))
        _run(connection, _VALIDATE)
        _run(connection, _CONVERT)
    except BaseException:
        _run(connection, _UNBOUND)
        raise


def join_partitions(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """All records in one table again."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(_CONVERT_REVERSE)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("tenants", "0021_log_retention")]

    operations = [
        migrations.RunSQL(_DRESS, "DROP FUNCTION marina_dress_partition(text)"),
        migrations.RunSQL(_LIST, "DROP FUNCTION marina_log_partitions()"),
        migrations.RunSQL(_MAKE, "DROP FUNCTION marina_make_log_partitions(integer)"),
        migrations.RunSQL(_DROP, "DROP FUNCTION marina_drop_empty_log_partitions()"),
        migrations.RunPython(partition, join_partitions),
    ]
