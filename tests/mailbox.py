"""What Marina has mailed in this test process (Django's locmem backend), once nothing waits to be sent."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.core import mail
from django.core.mail import EmailMessage

from tenants.services.mail import _postman


def letters_to(email: str) -> list[EmailMessage]:
    """Every letter to this address, in order."""
    _postman.submit(lambda: None).result(timeout=20)  # one thread: what came before it has been sent
    return [letter for letter in mail.outbox if letter.to == [email]]


def link_of(letter: EmailMessage) -> str:
    """The path of the letter's first link."""
    found = re.search(r"http://[^/\s]+(/\S+)", str(letter.body))
    assert found is not None
    return found[1]


def lose_mail_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on letters go to a server that is not there."""
    monkeypatch.setattr(settings, "EMAIL_BACKEND", "django.core.mail.backends.smtp.EmailBackend")
    monkeypatch.setattr(settings, "EMAIL_HOST", "127.0.0.1")
    monkeypatch.setattr(settings, "EMAIL_PORT", 9)
