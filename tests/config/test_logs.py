"""Log lines: what happened and where, and nothing of what was said or asked."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from django.test import RequestFactory

from config.logs import JsonFormatter, TaskFailures, logging_config

SECRET = "hunter2"


def read_port(text: str) -> int:
    try:
        return int(text)
    except ValueError as cause:
        raise LookupError(text) from cause


def failed(**fields: Any) -> logging.LogRecord:
    """A line about an exception whose text, and whose cause's text, holds a secret."""
    try:
        read_port(SECRET)
    except LookupError:
        record = logging.LogRecord("django.request", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    vars(record).update(fields)
    return record


def test_an_exception_is_told_by_types_and_places_without_its_text() -> None:
    line = JsonFormatter().format(failed())
    assert SECRET not in line
    told = json.loads(line)["exception"]
    assert [part for part in told if not part.startswith("File")] == [
        "builtins.ValueError",
        "builtins.LookupError",
    ]
    assert __file__ in told[0]
    assert "in read_port" in told[0]


def test_a_developer_gets_the_text_too() -> None:
    assert "LookupError: hunter2" in JsonFormatter(with_texts=True).format(failed())


def test_a_request_stands_for_its_id_alone() -> None:
    request = RequestFactory().get("/app/?text=hunter3")
    request.request_id = "request-1"  # type: ignore[attr-defined]
    line = JsonFormatter().format(failed(request=request, status_code=500))
    assert "hunter3" not in line
    assert (json.loads(line)["request_id"], json.loads(line)["status_code"]) == ("request-1", 500)


def test_a_failed_task_is_named_without_its_arguments_and_the_exceptions_text() -> None:
    record = failed(data={"name": "run", "id": "1", "args": "hunter4", "exc": "hunter4"})
    record.msg, record.args = "Task %(name)s raised %(exc)s", ({"name": "run", "exc": "hunter4"},)
    assert TaskFailures().filter(record)
    line = JsonFormatter().format(record)
    assert "hunter4" not in line
    assert (json.loads(line)["message"], json.loads(line)["task"]) == ("task failed", "run")


def test_addresses_of_outbound_requests_are_not_written() -> None:
    config = logging_config(debug=True)
    assert config["loggers"]["httpx2"]["level"] == "WARNING"
