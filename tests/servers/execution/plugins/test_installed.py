"""What is installed becomes kinds; what is installed badly becomes a kind that says so, and Marina starts."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from core.errors import InvalidInput, SourceError
from servers.execution.contract import Operation
from servers.execution.engine import Engine
from tests.servers.execution.plugins.conftest import Install, source_of

pytestmark = pytest.mark.anyio

OWN_KINDS = frozenset(Engine().kinds)
"""Marina's own: no plugin is installed yet."""

GOOD = """
from marina.plugin import Plugin
plugin = Plugin("sample", title="Sample")
"""
SETTINGS = '''
from pydantic import BaseModel, Field, SecretStr, field_validator

from marina.plugin import Context, Plugin, ToolError


class Settings(BaseModel):
    """How to reach it."""

    host: str
    port: int = Field(default=80, ge=1)
    password: SecretStr
    token: SecretStr | None = None


plugin = Plugin("sample", settings=Settings)


@plugin.check
async def check(settings: Settings) -> None:
    if settings.host == "crash":
        raise RuntimeError(settings.password.get_secret_value())
    if settings.host == "down":
        raise ToolError("The host down does not answer.")

@plugin.tool()
async def show(context: Context[Settings]) -> str:
    """Show."""
    settings = context.settings
    return f"{settings.host}:{settings.port} {settings.password.get_secret_value()} {settings.password}"
'''


@pytest.mark.parametrize(
    ("code", "name", "expected"),
    [
        ("import a_module_that_is_not_there", "sample", "ModuleNotFoundError"),
        ("raise SystemExit('hunter2')", "sample", "SystemExit"),
        ("plugin = 7", "sample", "names a int"),
        (GOOD, "other", "calls itself sample"),
        (
            GOOD + "plugin.template('a://{name*}')(len)",
            "sample",
            "is not a URI template that Marina can match",
        ),
        ("from marina.plugin import Plugin\nplugin = Plugin('Bad Name')", "sample", "must be 1 to 32"),
    ],
)
async def test_a_plugin_that_cannot_be_used_says_why_and_takes_nothing_down(
    install: Install,
    make_engine: Callable[[], Engine],
    caplog: pytest.LogCaptureFixture,
    code: str,
    name: str,
    expected: str,
) -> None:
    install(code, name=name)
    with caplog.at_level(logging.ERROR):
        engine = make_engine()
    assert set(engine.kinds) == {*OWN_KINDS, name}
    assert "a plugin is not usable" in caplog.text
    source = source_of(name, password="hunter2")
    backend = engine.backend(name)
    health = await engine.check(source)
    assert (health.state, health.code) == ("unhealthy", "plugin_broken")
    assert expected in health.reason
    assert "hunter2" not in health.reason
    with pytest.raises(InvalidInput, match=expected):
        backend.clean_settings({})
    with pytest.raises(SourceError, match=expected):
        backend.offered({})
    with pytest.raises(SourceError, match=expected):
        await engine.execute(source, Operation("tool", {"name": "x"}), {})
    assert backend.describe_settings({"password": "hunter2"}) == {}


async def test_a_plugin_cannot_take_the_place_of_marinas_own_kind(
    install: Install, make_engine: Callable[[], Engine]
) -> None:
    install("from marina.plugin import Plugin\nplugin = Plugin('postgres')", name="postgres", package="sly")
    engine = make_engine()
    assert engine.backend("postgres").title == "PostgreSQL"
    assert "sly" in (await engine.check(source_of("postgres@sly"))).reason


async def test_of_two_plugins_with_one_name_neither_gets_the_sources(
    install: Install, make_engine: Callable[[], Engine]
) -> None:
    install(GOOD, package="first")
    install(GOOD, package="second")
    reason = (await make_engine().check(source_of("sample"))).reason
    assert "first and second" in reason


async def test_a_plugin_may_bring_whole_kinds(install: Install, make_engine: Callable[[], Engine]) -> None:
    install(
        GOOD
        + """
from servers.execution.broken import BrokenBackend

plugin.kind(lambda: BrokenBackend("extra", "Only for show."))
plugin.kind(lambda: BrokenBackend("postgres", "Not this one."))
plugin.kind(object)
"""
    )
    engine = make_engine()
    assert set(engine.kinds) == {*OWN_KINDS, "sample", "extra", "postgres@sample", "sample@sample"}
    assert (await engine.check(source_of("extra"))).reason == "Only for show."
    assert engine.backend("postgres").title == "PostgreSQL"
    assert "has no kind" in (await engine.check(source_of("sample@sample"))).reason


async def test_settings_are_checked_shown_without_secrets_and_given_to_functions(
    install: Install, make_engine: Callable[[], Engine]
) -> None:
    install(SETTINGS)
    engine = make_engine()
    backend = engine.backend("sample")
    assert backend.secret_settings == {"password", "token"}
    assert backend.settings_schema["required"] == ["host", "password"]
    assert backend.settings_schema["properties"]["password"]["writeOnly"] is True
    cleaned = backend.clean_settings({"host": "h", "password": "hunter2"})
    assert cleaned == {"host": "h", "port": 80, "password": "hunter2", "token": None}
    assert backend.describe_settings(cleaned) == {"host": "h", "port": 80}
    outcome = await engine.execute(source_of("sample", **cleaned), Operation("tool", {"name": "show"}), {})
    assert outcome.text == "h:80 hunter2 **********"
    with pytest.raises(InvalidInput) as caught:
        backend.clean_settings({"port": 0, "password": ["hunter2"]})
    assert [error["path"] for error in caught.value.errors] == ["host", "port", "password"]
    assert "hunter2" not in str(caught.value.errors)
    with pytest.raises(InvalidInput):
        backend.clean_settings({"host": "h", "password": "p", "other": 1})


@pytest.mark.parametrize(
    ("host", "state", "code"),
    [
        ("up", "healthy", ""),
        ("down", "unhealthy", "plugin_unhealthy"),
        ("crash", "unhealthy", "plugin_failed"),
    ],
)
async def test_a_plugins_check_tells_the_sources_health(
    install: Install, make_engine: Callable[[], Engine], host: str, state: str, code: str
) -> None:
    install(SETTINGS)
    health = await make_engine().check(source_of("sample", host=host, password="hunter2"))
    assert (health.state, health.code) == (state, code)
    assert "hunter2" not in health.reason


async def test_a_plugin_without_settings_takes_none(
    install: Install, make_engine: Callable[[], Engine]
) -> None:
    install(GOOD)
    backend = make_engine().backend("sample")
    assert backend.clean_settings({}) == {}
    with pytest.raises(InvalidInput):
        backend.clean_settings({"dsn": "x"})
    with pytest.raises(InvalidInput, match="come with the plugin"):
        backend.compile("sql", {})
