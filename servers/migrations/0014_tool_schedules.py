"""Schedules of tools and their runs, priorities, what tools say at a worker, and two looks at all teams."""

import uuid

import django.db.models.deletion
import django.db.models.manager
import django.utils.timezone
from django.db import migrations, models

from tenants.rowsecurity import grant, nameable, row_security, same_tenant

# As of streams: a worker looks at all teams at once, and may see of their rows no more than which have something to do.
# The functions run as the tables' owner, which may read them here, and give ids alone. Of what waits, each schedule
# counts once, and only where it may begin; what was tried already comes last: so no team's fills what one look takes.
_DUE = """
CREATE POLICY due_schedules ON servers_toolschedule FOR SELECT TO CURRENT_USER USING (true);
CREATE POLICY due_schedules ON servers_scheduledrun FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION marina_due_tool_schedules(most integer) RETURNS TABLE (tenant_id bigint, schedule_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    (SELECT s.tenant_id, s.id FROM servers_toolschedule s
     WHERE s.enabled AND s.next_at <= now() ORDER BY s.next_at LIMIT most)
    UNION
    (SELECT w.tenant_id, w.schedule_id FROM (
        SELECT DISTINCT ON (r.schedule_id) r.tenant_id, r.schedule_id, r.begun_at, r.due_at
        FROM servers_scheduledrun r
        WHERE r.state = 'waiting' AND NOT EXISTS (
            SELECT FROM servers_scheduledrun o JOIN servers_task t ON t.id = o.task_id
            WHERE o.schedule_id = r.schedule_id AND o.state = 'running'
                AND t.status IN ('working', 'input_required')
        )
        ORDER BY r.schedule_id, r.due_at
     ) w ORDER BY w.begun_at NULLS FIRST, w.due_at LIMIT most)
$$;
REVOKE ALL ON FUNCTION marina_due_tool_schedules(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marina_due_tool_schedules(integer) TO marina_app;
"""

_DUE_REVERSE = """
DROP FUNCTION marina_due_tool_schedules(integer);
DROP POLICY due_schedules ON servers_scheduledrun;
DROP POLICY due_schedules ON servers_toolschedule;
"""

_EXPIRED = """
CREATE POLICY expired_tasks ON servers_task FOR SELECT TO CURRENT_USER USING (true);
CREATE FUNCTION marina_teams_of_expired_tasks() RETURNS TABLE (tenant_id bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT DISTINCT t.tenant_id FROM servers_task t WHERE t.expires_at < now() AND t.status <> 'working'
$$;
REVOKE ALL ON FUNCTION marina_teams_of_expired_tasks() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION marina_teams_of_expired_tasks() TO marina_app;
"""

_EXPIRED_REVERSE = """
DROP FUNCTION marina_teams_of_expired_tasks();
DROP POLICY expired_tasks ON servers_task;
"""

# The team that was claimed from last, of all workers: see servers/services/tasks/line.py. No row, so no lock and no
# dead rows: each claim sets it.
_ROUND = """
CREATE SEQUENCE servers_turn_round;
GRANT SELECT, UPDATE ON SEQUENCE servers_turn_round TO marina_app;
"""

_ROUND_REVERSE = "DROP SEQUENCE servers_turn_round;"


class Migration(migrations.Migration):
    dependencies = [
        ("servers", "0013_quarantine"),
        ("tenants", "0019_export_schedules"),
    ]

    operations = [
        # Foreign keys are added last, when the policies stand: the check of the empty tables asks them.
        migrations.RunSQL("SELECT set_config('app.tenant', '0', true)", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="ScheduledRun",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("due_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("waiting", "Waiting"),
                            ("running", "Running"),
                            ("skipped", "Skipped"),
                            ("missed", "Missed"),
                            ("ok", "Ok"),
                            ("error", "Error"),
                            ("refused", "Refused"),
                            ("invalid", "Invalid"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="waiting",
                        max_length=16,
                    ),
                ),
                ("by", models.CharField(blank=True, max_length=200)),
                ("passed_over", models.IntegerField(default=0)),
                ("begun_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("duration_us", models.BigIntegerField(null=True)),
                ("task_id", models.UUIDField(null=True)),
                ("seq", models.BigIntegerField(null=True)),
                ("reason", models.CharField(blank=True, max_length=300)),
            ],
            options={
                "ordering": ["-due_at", "id"],
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
            name="ToolSchedule",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=80)),
                ("server", models.CharField(max_length=40)),
                ("tool", models.CharField(max_length=140)),
                ("sealed", models.BinaryField()),
                ("cron", models.CharField(max_length=120)),
                ("zone", models.CharField(max_length=64)),
                (
                    "overlap",
                    models.CharField(
                        choices=[("skip", "Skip"), ("queue", "Queue")], default="skip", max_length=8
                    ),
                ),
                (
                    "missed",
                    models.CharField(
                        choices=[("once", "Once"), ("skip", "Skip")], default="once", max_length=8
                    ),
                ),
                ("priority", models.SmallIntegerField(default=0)),
                ("enabled", models.BooleanField(default=True)),
                ("paused_because", models.CharField(blank=True, max_length=300)),
                ("refusals", models.SmallIntegerField(default=0)),
                ("credential_id", models.UUIDField(null=True)),
                ("user_id", models.BigIntegerField(null=True)),
                ("actor", models.CharField(max_length=200)),
                ("next_at", models.DateTimeField()),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
            ],
            options={
                "ordering": ["name", "id"],
                "abstract": False,
                "base_manager_name": "directory",
                "default_manager_name": "objects",
            },
            managers=[
                ("objects", django.db.models.manager.Manager()),
                ("directory", django.db.models.manager.Manager()),
            ],
        ),
        migrations.AddField(
            model_name="task",
            name="priority",
            field=models.SmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="task",
            name="scheduled_run",
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name="task",
            name="sealed_said",
            field=models.BinaryField(null=True),
        ),
        migrations.AddField(
            model_name="tool",
            name="priority",
            field=models.SmallIntegerField(db_default=0, default=0),
        ),
        migrations.AddConstraint(
            model_name="task",
            constraint=models.UniqueConstraint(
                condition=models.Q(("scheduled_run__isnull", False)),
                fields=("tenant", "scheduled_run"),
                name="servers_task_scheduled_run_unique",
            ),
        ),
        migrations.AddConstraint(
            model_name="tool",
            constraint=models.CheckConstraint(
                condition=models.Q(("priority__range", (-1, 1))), name="servers_tool_priority_valid"
            ),
        ),
        migrations.AddField(
            model_name="scheduledrun",
            name="tenant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="toolschedule",
            name="tenant",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddField(
            model_name="scheduledrun",
            name="schedule",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="runs", to="servers.toolschedule"
            ),
        ),
        migrations.AddIndex(
            model_name="toolschedule",
            index=models.Index(
                condition=models.Q(("enabled", True)), fields=["next_at"], name="servers_toolschedule_due"
            ),
        ),
        migrations.AddConstraint(
            model_name="toolschedule",
            constraint=models.UniqueConstraint(
                fields=("tenant", "name"), name="servers_toolschedule_name_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="toolschedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("missed__in", ["once", "skip"]),
                    ("overlap__in", ["skip", "queue"]),
                    ("priority__range", (-1, 1)),
                ),
                name="servers_toolschedule_choices_valid",
            ),
        ),
        migrations.AddConstraint(
            model_name="toolschedule",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("credential_id__isnull", False), ("user_id__isnull", True)),
                    models.Q(("credential_id__isnull", True), ("user_id__isnull", False)),
                    _connector="OR",
                ),
                name="servers_toolschedule_somebody",
            ),
        ),
        migrations.AddIndex(
            model_name="scheduledrun",
            index=models.Index(
                condition=models.Q(("state__in", ["waiting", "running"])),
                fields=["schedule"],
                name="servers_scheduledrun_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="scheduledrun",
            constraint=models.UniqueConstraint(
                fields=("schedule", "due_at"), name="servers_scheduledrun_due_unique"
            ),
        ),
        migrations.AddConstraint(
            model_name="scheduledrun",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "waiting",
                            "running",
                            "skipped",
                            "missed",
                            "ok",
                            "error",
                            "refused",
                            "invalid",
                            "cancelled",
                        ],
                    )
                ),
                name="servers_scheduledrun_state_valid",
            ),
        ),
        row_security("servers_toolschedule"),
        row_security("servers_scheduledrun"),
        # A run is of its schedule's tenant, whatever wrote it.
        nameable("servers_toolschedule"),
        same_tenant("servers_scheduledrun", "schedule_id", "servers_toolschedule"),
        grant("SELECT, INSERT, UPDATE, DELETE", "servers_toolschedule", "marina_app"),
        grant("SELECT, INSERT, UPDATE, DELETE", "servers_scheduledrun", "marina_app"),
        migrations.RunSQL(_DUE, _DUE_REVERSE),
        migrations.RunSQL(_EXPIRED, _EXPIRED_REVERSE),
        migrations.RunSQL(_ROUND, _ROUND_REVERSE),
    ]
