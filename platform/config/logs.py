"""Logging: one JSON object a line on standard error, with constant messages and ids as fields.

An exception is logged by its type and where it rose, not by its text, which may hold a secret or a tenant's data.
"""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import Any, Final

import orjson

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request"}


class JsonFormatter(logging.Formatter):
    """A record as JSON: time, level, logger, message, the fields given as ``extra``, and the exception.

    ``with_texts`` adds what exceptions say: for a developer's own machine.
    """

    def __init__(self, *, with_texts: bool = False) -> None:
        super().__init__()
        self._with_texts = with_texts

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        # Django hands over the whole request, whose query is nobody's business here.
        request_id = getattr(getattr(record, "request", None), "request_id", None)
        if request_id is not None:
            line["request_id"] = request_id
        line.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = (
                self.formatException(record.exc_info)
                if self._with_texts
                else describe_exception(record.exc_info[1], record.exc_info[2])
            )
        return orjson.dumps(line, default=str).decode()


class TaskFailures(logging.Filter):
    """Says which task failed. Celery itself would write the exception's text and the arguments into the line."""

    def filter(self, record: logging.LogRecord) -> bool:
        task = vars(record).pop("data", None)
        if isinstance(task, dict):
            record.msg, record.args = "task failed", ()
            record.task, record.task_id = task.get("name"), task.get("id")
        return True


def describe_exception(error: BaseException, where: TracebackType | None) -> list[str]:
    """Frames and types of an exception and of those behind it, the first one first. No text of any."""
    told: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        kind = type(current)
        frames = traceback.format_list(traceback.extract_tb(where))
        told[:0] = [*(frame.strip() for frame in frames), f"{kind.__module__}.{kind.__qualname__}"]
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        where = None if current is None else current.__traceback__
    return told


def logging_config(*, debug: bool) -> dict[str, Any]:
    """The configuration for ``logging.config.dictConfig``."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "config.logs.JsonFormatter", "with_texts": debug}},
        "filters": {"task_failures": {"()": "config.logs.TaskFailures"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"handlers": ["stderr"], "level": "DEBUG" if debug else "INFO"},
        "loggers": {
            "uvicorn": {"level": "INFO"},
            "django.server": {"level": "WARNING"},
            # It would write the address of each outbound request, with its query, where some keep a secret.
            "httpx2": {"level": "WARNING"},
            # Any stranger could fill the log with these, a traceback each; the answer's 400 is logged as well.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            # In debug mode it would write every statement with its values.
            "django.db.backends": {"level": "INFO"},
            "psycopg.pool": {"level": "ERROR"},
            "celery": {"level": "INFO"},
            # A line for each received and each finished task, every few seconds: nobody reads on.
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING", "filters": ["task_failures"]},
            "celery.beat": {"level": "WARNING"},
        },
    }
