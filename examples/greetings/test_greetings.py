"""The plugin's own tests: its functions are called as they are. They need no server."""

from __future__ import annotations

import asyncio

import pytest
from greetings import card, greet, names_like, person

from marina.plugin import ResourceNotFound, ToolError
from marina.testing import Script, accept, decline


def test_people_are_greeted_in_the_language_that_the_user_chose() -> None:
    script = Script({"language": accept(language="fr")})
    greetings = asyncio.run(greet(["Ada", "Alan"], script.context()))
    assert [greeting.text for greeting in greetings] == ["Bonjour, Ada!", "Bonjour, Alan!"]
    assert script.told == [(1, 2, "Greeted Ada"), (2, 2, "Greeted Alan")]


def test_a_client_that_cannot_ask_gets_english() -> None:
    assert asyncio.run(greet(["Ada"], Script().context()))[0].text == "Hello, Ada!"


def test_nobody_is_greeted_when_the_user_says_no() -> None:
    with pytest.raises(ToolError):
        asyncio.run(greet(["Ada"], Script({"language": decline()}).context()))


def test_people_are_greeted_in_their_own_language() -> None:
    assert asyncio.run(person("emmy")) == "Hallo, Emmy!"
    with pytest.raises(ResourceNotFound):
        asyncio.run(person("nobody"))


def test_names_are_completed() -> None:
    assert asyncio.run(names_like("A")) == ["ada", "alan"]


def test_the_card_is_for_a_birthday_unless_said_otherwise() -> None:
    assert asyncio.run(card("Ada"))[0].content == "Write a birthday card for Ada."
