"""Marina as it is run for many, on loopback: two web processes, two workers, a scheduler, PostgreSQL and Redis.

What dies is started again, as a supervisor of services would; nothing else is done for it. One load after another is
put on it, and each is judged when all is quiet again.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import psutil
from redis import Redis

from config.local.failure import StartError
from config.local.process import kill_group
from tests.factories import make_database
from tests.faults.effects import read_effects
from tests.faults.load import LAST_SECONDS, Said
from tests.faults.shim import Wishes, build_shim
from tests.faults.stoppable import StoppableRedis
from tests.faults.worker import CeleryProcess, KillableWorker
from tests.plugins.live_marina import ROOT, LiveMarina
from tests.plugins.own_cluster import Cluster, own_folder
from tests.protocol.waiting import wait_for
from tests.tenants.checkpoints.programs import PROGRAMS, verify

ROUNDS: Final = int(os.environ.get("MARINA_FAULT_ROUNDS") or 2)
"""How often each thing is killed, and such."""

LONG: Final = ROUNDS >= 20
"""Whether time matters less than what is found."""

PROMISED_SECONDS: Final = 5.0
SLACK_SECONDS: Final = 2.0
"""What two cores that are shared with starting processes add to what was promised, at most."""

LATE: Final = 0.01
"""The share of answers to which they may add something."""

_RECOVERY_SECONDS: Final = 120.0
_RESTART_SECONDS: Final = 0.3
_ALIVE_SECONDS: Final = 60.0
_PLUGIN: Final = Path(__file__).with_name("plugin")
_LEAKS: Final = re.compile(
    r"Traceback|psycopg|postgres(ql)?://|redis://|File \\?\"|/tmp/|site-packages|OperationalError|marina_(app|writer)"
)
_STATUSES: Final = {"outcome_unrecorded": 500}
"""Of refusals by their code, other than 503: who gets this one is not to try again."""

_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Part(Protocol):
    """A process that can be started again."""

    process: subprocess.Popen[bytes] | None

    def spawn(self) -> None:
        """Start it and return at once."""

    def kill(self) -> None:
        """``kill -9``."""


@dataclass(slots=True)
class Case:
    """One load: its teams, and when it is over, what was said to it."""

    teams: list[dict[str, Any]]
    path: Path
    since: float
    """POSIX time before its teams were made."""
    said: list[Said] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def of(self, *kinds: str) -> list[Said]:
        """Requests that ended so. Not tasks and exports as a whole."""
        return [each for each in self.said if each.kind in kinds and each.is_request]

    def tasks_done(self) -> int:
        """How many have ended well so far."""
        lines = self.path.read_text().splitlines()
        said = (Said(**json.loads(line)) for line in lines if line.endswith("}"))
        return sum(each.is_task and each.kind == "ok" for each in said)


class Stack:
    """All of it. ``disk`` is what PostgreSQL is to meet, ``clocks`` what each of Marina's processes is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        library = build_shim(folder)
        self.disk = Wishes(library, "disk")
        names = ("web-0", "web-1", "worker", "runner", "beat")
        self.clocks = {name: Wishes(library, name) for name in names}
        self.postgres = Cluster(folder, self.disk.environment)
        self.redis = StoppableRedis(folder)
        self.notes = folder / "checkpoints"
        self._environment = {
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "MARINA_HOME": str(folder / "home"),
            "MARINA_CHECKPOINTS": self.notes.as_uri(),
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "platform", _PLUGIN))),
        }
        each = {name: {**self._environment, **wishes.environment} for name, wishes in self.clocks.items()}
        self.webs = [LiveMarina(folder / f"{name}.log", environment=each[name]) for name in names[:2]]
        worker = (
            "worker",
            "--loglevel",
            "INFO",
            "--concurrency",
            "2",
            "--without-gossip",
            "--without-mingle",
        )
        beat = ("beat", "--loglevel", "INFO", "--pidfile=", "--schedule", str(folder / "schedule"))
        self.parts: dict[str, Part] = {
            "postgres": self.postgres,
            "redis": self.redis,
            "web-0": self.webs[0],
            "web-1": self.webs[1],
            "worker": CeleryProcess(folder / "worker.log", worker, each["worker"]),
            "runner": KillableWorker(folder / "runner.log", each["runner"]),
            "beat": CeleryProcess(folder / "beat.log", beat, each["beat"]),
        }
        self.restarts: Counter[str] = Counter()
        self.memory_limits: dict[str, int] = {}
        """Bytes by part: what has more is killed, as a container's limit does."""
        self._over = threading.Event()
        self._first = 1
        self._watching = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start all of it, and wait until it is ready."""
        self.notes.mkdir()
        (self._folder / "home").mkdir()
        self.postgres.start()
        self.postgres.set_up()
        self.redis.start()
        self._watching.start()
        self.wait_until_ready()

    def close(self) -> None:
        """End it, in whatever state it is."""
        self._over.set()
        self.postgres.resume()
        self._watching.join(30)
        for part in reversed(self.parts.values()):
            if part.process is not None and part.process.poll() is None:
                kill_group(part.process.pid)
                part.process.wait()
        # Whatever the last postmaster left behind.
        with suppress(OSError):
            self.postgres.kill()

    def kill(self, name: str) -> None:
        """``kill -9`` of a part; of ``backend`` and ``writer``, of one process that PostgreSQL has for a client.

        What was killed just before is waited for, so that each of these kills something.
        """
        wait_for(lambda: self._kill_now(name), _ALIVE_SECONDS)

    def _kill_now(self, name: str) -> bool:
        """Whether there was something to kill."""
        part = self.parts["postgres" if name in ("backend", "writer") else name]
        process = part.process
        if process is None or process.poll() is not None:
            return False
        if name not in ("backend", "writer"):
            part.kill()
            return True
        wanted = "marina_writer" if name == "writer" else "marina_"
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children():
                if _serves(child, wanted):
                    child.kill()
                    return True
        return False

    def flush_redis(self) -> None:
        """Let Redis forget everything."""
        with Redis.from_url(self.redis.url) as client:
            client.flushall()

    def wait_until_ready(self, seconds: float = _RECOVERY_SECONDS) -> float:
        """Until each web process says that nothing is amiss. How long that took."""
        began = time.monotonic()
        while reasons := [reason for web in self.webs if (reason := _why_not_ready(web)) is not None]:
            assert time.monotonic() - began < seconds, (reasons, self.last_lines())
            time.sleep(0.1)
        return time.monotonic() - began

    def run_python(self, *arguments: str, given: object = None) -> str:
        """What a Python process prints that has this Marina's environment."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **self._environment},
            cwd=ROOT,
            input=json.dumps(given),
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3_000:]
        return done.stdout

    def make_teams(self, count: int) -> list[dict[str, Any]]:
        """New teams, with the tools of ``teams.py``. The database that they read is none that is killed."""
        dsn = make_database("SELECT 1")
        made: list[dict[str, Any]] = json.loads(
            self.run_python("tests.faults.teams", str(count), str(self._folder), given=dsn)
        )
        return made

    def effects_of(self, team: Mapping[str, Any]) -> Counter[int]:
        """How often each number took effect."""
        return read_effects(self._folder)[team["slug"]]

    @contextmanager
    def load(self, *, teams: int = 2, webs_killed: bool = False) -> Iterator[Case]:
        """A load while the block runs. Then all is to come to rest by itself, and to be as it must.

        ``webs_killed``: whether calls may have had no answer at all.
        """
        number, self._first = self._first, self._first + 1_000_000
        path = self._folder / f"said-{number}"
        since = time.time()
        case = Case(self.make_teams(teams), path, since)
        before = self.restarts.copy()
        job = {
            "teams": case.teams,
            "ports": [web.port for web in self.webs],
            "first": number,
            "folder": str(self._folder),
        }
        with path.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.load"],
                cwd=ROOT,
                env={**os.environ, **self._environment},
                stdin=subprocess.PIPE,
                stdout=output,
            )
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
            # It is under way when each kind of request was answered.
            wait_for(lambda: path.read_bytes().count(b"\n") >= 20 * teams, 60)
            yield case
            process.send_signal(signal.SIGTERM)
            recovery = self.wait_until_ready()
            process.wait(LAST_SECONDS + 30)
        finally:
            process.kill()
            process.wait()
        case.said = [Said(**json.loads(line)) for line in path.read_text().splitlines()]
        self._judge(case, webs_killed=webs_killed)
        case.counts["seconds until ready"] = round(recovery)
        print(f"started again: {dict(self.restarts - before)}")
        _print_counts(case)

    def _judge(self, case: Case, *, webs_killed: bool) -> None:
        given = {
            "teams": case.teams,
            "said": str(case.path),
            "folder": str(self._folder),
            "notes": str(self.notes),
            "since": case.since,
        }
        self._wait_for_notes(case)
        verdict = json.loads(self.run_python("tests.faults.judging", given=given))
        case.counts = Counter(verdict["counts"])
        problems = verdict["problems"] + _problems_of_answers(case, webs_killed=webs_killed)
        problems += self._problems_of_exports(case)
        assert not problems, (len(problems), problems[:10], case.counts, self.last_lines(8))

    def _wait_for_notes(self, case: Case) -> None:
        """A checkpoint of each team is published soon."""
        notes = [self.notes / f"{team['slug']}.notes" for team in case.teams]
        wait_for(lambda: all(each.exists() for each in notes), 30)

    def _problems_of_exports(self, case: Case) -> list[str]:
        keys = self._folder / "keys.json"
        with _opener.open(f"{self.webs[0].base_url}/.well-known/marina-log-keys", timeout=10) as answer:
            keys.write_bytes(answer.read())
        problems = []
        for team in case.teams:
            file = self._folder / f"{team['slug']}.jsonl"
            held = ("--checkpoints", self.notes / f"{team['slug']}.notes", "--keys", keys, "--range")
            if not file.exists():
                problems.append(f"{team['slug']}: no export was downloaded")
                continue
            for program in PROGRAMS:
                code, said = verify(program, file, *held)
                if code != 0:
                    problems.append(f"{program} does not accept the export: {said}")
        return problems

    @contextmanager
    def another_runner(self) -> Iterator[KillableWorker]:
        """A second worker for tasks, while the block runs."""
        runner = KillableWorker(self._folder / "another.log", self._environment)
        try:
            runner.start()
            yield runner
        finally:
            runner.close()

    def text_of(self, name: str) -> str:
        """What a part of Marina's wrote so far."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def last_lines(self, count: int = 15) -> str:
        """The end of what each part wrote."""
        texts = []
        for log in [*sorted(self._folder.glob("*.log")), self._folder / "log"]:
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            texts.append("\n".join((f"--- {log.name}", *lines[-count:])))
        return "\n".join(texts)

    def _watch(self) -> None:
        begun: dict[str, float] = {}
        while not self._over.wait(0.05):
            for name, part in self.parts.items():
                if part.process is None or part.process.poll() is not None:
                    # Not at once again and again: what cannot start now may soon.
                    if time.monotonic() - begun.get(name, 0.0) < (1.0 if name in begun else 0.0):
                        continue
                    if self._over.wait(_RESTART_SECONDS if name in begun else 0.0):
                        return
                    self.restarts[name] += name in begun or part.process is not None
                    begun[name] = time.monotonic()
                    # What a killed one left may be in the way for a moment.
                    with suppress(StartError, OSError):
                        part.spawn()
                elif name in self.memory_limits:
                    with suppress(psutil.Error):
                        if psutil.Process(part.process.pid).memory_info().rss > self.memory_limits[name]:
                            part.kill()


@contextmanager
def running_stack() -> Iterator[Stack]:
    """One that runs while the block does."""
    with own_folder() as folder:
        stack = Stack(folder)
        try:
            stack.start()
            yield stack
        finally:
            stack.close()


def _serves(process: psutil.Process, role: str) -> bool:
    try:
        return role in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _why_not_ready(web: LiveMarina) -> str | None:
    try:
        with _opener.open(f"{web.base_url}/ready", timeout=10) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as fault:
        return fault.read()[:500].decode(errors="replace")
    except OSError as fault:
        return str(fault)
    return None if told["status"] == "ready" else json.dumps(told)


def _problems_of_answers(case: Case, *, webs_killed: bool) -> list[str]:
    problems = []
    # Where all is killed again and again, one request may meet two ends of the database.
    promised = PROMISED_SECONDS * (2 if webs_killed else 1)
    longest = promised + SLACK_SECONDS
    answers = [said for said in case.of("ok", "failed", "refused") if said.work != "download"]
    late = sum(said.seconds > promised for said in answers)
    if late > LATE * len(answers):
        problems.append(f"{late} of {len(answers)} answers took longer than {promised} s")
    for said in case.said:
        if not said.is_request:
            continue
        if said.kind == "lost" and (not webs_killed or "imeout" in said.code):
            problems.append(f"no answer came: {said}")
        # A file may take longer, and so may what comes after it.
        if said.work != "download" and said.seconds > longest:
            problems.append(f"it took too long: {said}")
        if said.kind == "refused" and (said.status != _STATUSES.get(said.code, 503) or not said.code):
            problems.append(f"a refusal that is not clear: {said}")
        if found := _LEAKS.search(said.text):
            problems.append(f"it tells {found[0]!r}: {said}")
    return problems


def _print_counts(case: Case) -> None:
    refused = Counter(f"{each.work} {each.status} {each.code}" for each in case.of("refused"))
    longest = max((each.seconds for each in case.of("ok", "failed", "refused")), default=0.0)
    print(f"longest answer {longest:.2f} s; refused {dict(refused)}; {dict(sorted(case.counts.items()))}")
