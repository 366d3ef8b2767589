"""What cannot work is refused when the plugin is imported, with the name of the function and what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr

from marina.forms import form_schema
from marina.plugin import Context, DeclarationError, Plugin
from servers.execution.backends.plugins.settings import PluginSettings


def blocking(name: str) -> str:
    return name


async def unannotated(name) -> str:  # type: ignore[no-untyped-def]
    return str(name)


async def silent(name: str):  # type: ignore[no-untyped-def]
    return name


async def variadic(*names: str) -> str:
    return ",".join(names)


async def opaque(thing: object, call: Callable[[], None]) -> str:
    return ""


async def hidden(name: "NotImportedAtRunTime") -> str:  # type: ignore[name-defined] # noqa: F821, UP037
    return ""


async def aliased(name: str = Field(alias="other")) -> str:
    return name


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (blocking, "async def"),
        (unannotated, "the parameter name has no annotation"),
        (silent, "does not say what it returns"),
        (variadic, "has no name"),
        (opaque, "cannot be told as JSON Schema"),
        (hidden, "NotImportedAtRunTime is not known"),
        (aliased, "alias"),
    ],
)
def test_functions_that_cannot_be_tools_are_refused(function: Any, expected: str) -> None:
    with pytest.raises(DeclarationError, match=expected):
        Plugin("sample").tool()(function)


async def item(number: int, context: Context) -> str:
    return str(number)


def test_a_templates_variables_are_the_functions_parameters() -> None:
    plugin = Plugin("sample")
    for uri in ("a://b", "a://{other}", "a://{number}/{other}"):
        with pytest.raises(DeclarationError):
            plugin.template(uri)(item)
    plugin.template("a://{number}")(item)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("a://{number*}", "not supported"),
        ("a://{number}{other}", "side by side"),
        ("a://{?number}/b", "must be the template.s end"),
        ("a://b", "Declare it with resource"),
    ],
)
def test_a_template_that_no_uri_can_be_matched_against_is_refused(uri: str, expected: str) -> None:
    with pytest.raises(DeclarationError, match=expected):
        Plugin("sample").template(uri)(item)


def test_names_are_given_once_and_have_a_form() -> None:
    plugin = Plugin("sample")
    plugin.tool("one")(item)
    with pytest.raises(DeclarationError, match="two tools called one"):
        plugin.tool("one")(item)
    with pytest.raises(DeclarationError):
        plugin.tool("no spaces")(item)
    with pytest.raises(DeclarationError):
        plugin.prompt("no spaces")(item)
    with pytest.raises(DeclarationError):
        Plugin("Upper Case")


def test_completion_is_of_an_argument_that_there_is() -> None:
    prompt = Plugin("sample").prompt()(item)

    async def values(value: str) -> Sequence[str]:
        return [value]

    with pytest.raises(DeclarationError, match="no argument other"):
        prompt.complete("other")(values)


class Nested(BaseModel):
    point: dict[str, int]


def test_a_form_has_flat_fields_only() -> None:
    with pytest.raises(DeclarationError, match=r"Nested\.point"):
        form_schema(Nested)


class Keys(BaseModel):
    keys: list[SecretStr]


def test_a_secret_setting_is_a_field_of_its_own() -> None:
    with pytest.raises(DeclarationError, match="secret"):
        PluginSettings(Keys)


def test_importing_the_api_brings_neither_marina_nor_django() -> None:
    code = (
        "import sys, marina.plugin, marina.testing\n"
        "heavy = {'django', 'servers', 'core', 'mcp', 'mcp_types', 'jsonschema_rs', 'asyncio'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
