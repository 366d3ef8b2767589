"""Django's page of an exception in debug mode: where it broke, and none of what the process knows."""

from __future__ import annotations

import base64
import sys
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.http import HttpResponse
from django.test import RequestFactory
from django.views.debug import technical_500_response

from config.env import get_env
from config.settings import CELERY_BROKER_URL, DATABASES

SENT = ("typed-password", "mcp_live_aaaa_bbbb", "session-of-mine")


def broken_page() -> HttpResponse:
    """The page that an exception gets below frames that hold all there is to hide."""
    request = RequestFactory().post(
        "/app/sign-in",
        {"password": SENT[0]},
        headers={"Authorization": f"Bearer {SENT[1]}", "Cookie": f"marina_session={SENT[2]}"},
    )

    def fail(env: object, url: str, key: bytes) -> None:
        raise LookupError("it broke here")

    try:
        fail(get_env(), get_env().app_database_url, get_env().master_key)
    except LookupError:
        return technical_500_response(request, *sys.exc_info())
    raise AssertionError("nothing broke")


def test_the_page_of_an_exception_says_where_it_broke_and_holds_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settings, "DEBUG", True)
    page = broken_page().content.decode()
    assert "it broke here" in page
    assert "broken_page" in page
    env = get_env()
    key = base64.urlsafe_b64encode(env.master_key).decode()
    urls = (
        env.database_url,
        env.app_database_url,
        env.owner_database_url,
        env.ops_database_url,
        env.writer_database_url,
    )
    hidden = {
        key,
        key.rstrip("="),
        repr(env.master_key),
        env.redis_url,
        CELERY_BROKER_URL,
        settings.SECRET_KEY,
        *urls,
        *(str(urlsplit(url).password) for url in urls),
        *(str(database["PASSWORD"]) for database in DATABASES.values()),
        *SENT,
    }
    assert [secret for secret in hidden if secret in page] == []
