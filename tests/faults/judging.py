"""Holds what the load was told against the log, the effects and the tasks. Run by the fault tests, once all is quiet.

``python -m tests.faults.judging`` reads a case (JSON) on standard input: ``teams`` (see ``teams.py``), ``said`` (the
file of what the load wrote), ``folder`` (of the effects), ``notes`` (the folder of published checkpoints). ``since`` is
when the load began, as POSIX time. It prints JSON: ``problems`` in words, and ``counts``.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import django

django.setup()

from django.core.management import CommandError, call_command

from servers.models import Task, Turn
from tenants.audit.records import INTENT, decode
from tenants.models import AuditExport, AuditRecord
from tenants.scoping import tenant_scope
from tests.faults.effects import read_effects
from tests.faults.load import ENDED, Said

MAY_HAVE_RUN: Final = ("outcome_unrecorded",)
"""Codes of refusals that say that the work may be done."""

QUIET_SECONDS: Final = 90.0

TASKS_MAY_FAIL_AS: Final = ("outcome_unknown", "task_parked")
FEW_TASKS: Final = 8
"""Of so many that one team began the share is judged that ended well."""

TASKS_MAY_FAIL: Final = 0.5
"""So many of a team's, as a share, however often workers are killed: more would say that none is taken up again."""

MOVED: Final = {"behind": timedelta(minutes=-10), "ahead": timedelta(minutes=10)}
"""How wrong clocks may be while a load runs."""

_SLACK: Final = timedelta(seconds=5)


def main() -> None:
    """Judge each team."""
    case = json.load(sys.stdin)
    lines = Path(case["said"]).read_text().splitlines()
    said = [Said(**json.loads(line)) for line in lines]
    counts: Counter[str] = Counter()
    problems: list[str] = []
    _wait_until_quiet([team["tenant_id"] for team in case["teams"]])
    effects = read_effects(Path(case["folder"]))
    for team in case["teams"]:
        of_team = [each for each in said if each.team == team["slug"]]
        found = Judgement(team, of_team, effects[team["slug"]], datetime.fromtimestamp(case["since"], UTC))
        found.judge(Path(case["notes"]) / f"{team['slug']}.notes")
        problems += [f"{team['slug']}: {problem}" for problem in found.problems]
        counts.update(found.counts)
    waiting = Turn.objects.count()
    if waiting:
        problems.append(f"{waiting} tasks are still in the line")
    print(json.dumps({"problems": problems, "counts": counts}))


def _wait_until_quiet(tenant_ids: list[int]) -> None:
    """What was begun and nobody knows of, since its answer was lost, has its time, too."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        busy = Turn.objects.exists()
        for tenant_id in tenant_ids:
            with tenant_scope(tenant_id):
                busy = busy or AuditExport.objects.filter(status__in=("queued", "running")).exists()
        if not busy:
            return
        time.sleep(0.5)


class Judgement:
    """What is to be said of one team."""

    def __init__(
        self, team: dict[str, Any], said: list[Said], effects: Counter[int], since: datetime
    ) -> None:
        self._team = team
        self._said = said
        self._effects = effects
        self._since = since - _SLACK
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self._outcomes: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._intents: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._changes: Counter[str] = Counter()

    def judge(self, notes: Path) -> None:
        """Fill ``problems`` and ``counts``."""
        try:
            # A team's first checkpoint comes within seconds, so there is a file.
            call_command("verify_log", self._team["slug"], checkpoints=notes, verbosity=0, stdout=sys.stderr)
        except (CommandError, OSError) as fault:
            self._problem(f"the log does not verify: {fault}")
        self._read_log()
        for each in self._said:
            if each.work in ("read", "write"):
                self._judge_call(each)
            elif each.is_task:
                self._judge_task(each)
            elif each.work == "change" and each.kind == "ok":
                self._expect(self._changes[each.request_id] == 1, f"a change is not there once: {each}")
            elif each.work == "exported":
                self._expect(each.kind == "ok", f"an export did not come: {each}")
            self.counts[f"{each.work} {each.kind}"] += 1
        self._judge_effects()
        self._judge_intents()
        self._judge_rows()
        self._judge_share()

    def _problem(self, text: str) -> None:
        self.problems.append(text)

    def _expect(self, holds: bool, text: str) -> None:
        if not holds:
            self._problem(text)

    def _read_log(self) -> None:
        with tenant_scope(self._team["tenant_id"]):
            for row in AuditRecord.objects.order_by("seq").iterator():
                body = {**decode(bytes(row.body)), "seq": row.seq}
                self._judge_time(row.at)
                if row.kind.startswith("tool."):
                    self._changes[row.request_id] += 1
                number = (body.get("arguments") or {}).get("number")
                # A call that was sent again for the same task is that call.
                if row.kind != "tools/call" or number is None or body.get("served_from") == "task":
                    continue
                place = self._intents if row.outcome == INTENT else self._outcomes
                place[number].append(body)
                self.counts["records of calls"] += 1

    def _judge_time(self, at: datetime) -> None:
        until = datetime.now(UTC) + _SLACK
        if self._since <= at <= until:
            return
        for name, moved in MOVED.items():
            if self._since <= at - moved <= until:
                self.counts[f"records ten minutes {name}"] += 1
                return
        self._problem(f"a record has a time that no clock had: {at}")

    def _was_refused(self, number: int) -> bool:
        return any(
            each.number == number and each.work == "begin" and each.kind == "refused" for each in self._said
        )

    def _judge_share(self) -> None:
        tasks = [each for each in self._said if each.is_task]
        failed = sum(each.kind != "ok" for each in tasks)
        # Of the two that a full disk let begin, it may have met both.
        most = TASKS_MAY_FAIL * len(tasks) if len(tasks) >= FEW_TASKS else len(tasks)
        self._expect(failed <= most, f"{failed} of {len(tasks)} tasks did not end well")
        exported = any(each.work == "exported" and each.kind == "ok" for each in self._said)
        self._expect(exported, "no export came")

    def _judge_call(self, said: Said) -> None:
        outcomes = self._outcomes[said.number]
        self._expect(len(outcomes) <= 1, f"it is recorded {len(outcomes)} times: {said}")
        if said.kind == "ok":
            self._expect(
                [(each["outcome"], each["request_id"]) for each in outcomes] == [("ok", said.request_id)],
                f"it was answered, and the log says {outcomes}: {said}",
            )
        elif said.kind == "failed":
            self._expect(
                [each["outcome"] in ("error", "cancelled") for each in outcomes] == [True],
                f"it failed, and the log says {outcomes}: {said}",
            )
        if said.work != "write":
            return
        took = self._effects[said.number]
        if said.kind == "ok":
            self._expect(took == 1, f"it was answered and took effect {took} times: {said}")
        if said.kind == "refused" and said.code not in MAY_HAVE_RUN:
            self._expect(took == 0, f"it was refused and took effect: {said}")

    def _judge_task(self, said: Said) -> None:
        if said.kind == "never":
            self._problem(f"it did not end: {said}")
            return
        outcomes = [each for each in self._outcomes[said.number] if each.get("task") == said.id]
        self._expect(len(outcomes) == 1, f"a task has {len(outcomes)} outcomes: {said}")
        took = self._effects[said.number]
        if said.kind == "ok":
            self._expect([each["outcome"] for each in outcomes] == ["ok"], f"the log says {outcomes}: {said}")
            self._expect(took == ("count_later" in said.work), f"it ended well, effects: {took}: {said}")
        else:
            # One that was made although its caller was told of a failure, and was asked for by its key again.
            disowned = said.code == "internal" and took == 0 and self._was_refused(said.number)
            self._expect(disowned or said.code in TASKS_MAY_FAIL_AS, f"a task failed otherwise: {said}")
            self.counts[f"tasks that ended as {said.code}"] += 1

    def _judge_effects(self) -> None:
        for number, times in self._effects.items():
            self._expect(times == 1, f"{number} took effect {times} times")
            self._expect(bool(self._intents[number]), f"{number} took effect without an intent")
        self.counts["effects"] += len(self._effects)

    def _judge_intents(self) -> None:
        told = Counter(each.get("intent") for found in self._outcomes.values() for each in found)
        for number, intents in self._intents.items():
            for intent in intents:
                outcomes = told[intent["seq"]]
                self._expect(outcomes <= 1, f"the intent of {number} has {outcomes} outcomes")
                self.counts["intents"] += 1
                self.counts["intents without an outcome"] += outcomes == 0

    def _judge_rows(self) -> None:
        with tenant_scope(self._team["tenant_id"]):
            open_tasks = Task.objects.exclude(status__in=ENDED).count()
            exports = Counter(AuditExport.objects.values_list("status", flat=True))
        self._expect(open_tasks == 0, f"{open_tasks} tasks have not ended")
        self._expect(set(exports) <= {"done"}, f"exports stand as {dict(exports)}")


if __name__ == "__main__":
    main()
