"""An authenticator app of a person of the tests: RFC 6238 written once more, so that ours is not checked by itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import struct
import time
from dataclasses import dataclass

from django.test import Client

PERIOD = 30


@dataclass(frozen=True, slots=True)
class App:
    """An app that holds a secret."""

    secret: str

    def code(self, *, steps: int = 0) -> str:
        """What it shows now, or so many steps of half a minute off.

        One of now is taken a step later too, and one of the next step is taken now: no test waits for a step.
        """
        counter = int(time.time()) // PERIOD + steps
        key = base64.b32decode(self.secret)
        digest = hmac.new(key, struct.pack(">Q", counter), hashlib.sha1).digest()
        at = digest[-1] & 15
        return f"{(struct.unpack('>I', digest[at : at + 4])[0] & 0x7FFFFFFF) % 10**6:06}"

    def wrong(self) -> str:
        """Six digits that it shows neither now nor a minute around it."""
        near = {self.code(steps=steps) for steps in range(-3, 4)}
        return next(code for code in (digit * 6 for digit in "01234567") if code not in near)


def set_up_app(client: Client) -> tuple[App, list[str]]:
    """Set one up on the account's page, whose person has just signed in: the app and the recovery codes, if any."""
    app = shown_app(client)
    done = client.post("/app/account/authenticator", {"code": app.code()})
    return app, codes_in(done.content.decode())


def shown_app(client: Client) -> App:
    """An app that took in the secret which the account's page shows, and gave no code yet."""
    page = client.get("/app/account/authenticator")
    assert page.status_code == 200, page
    secret = re.search(r'id="totp-secret"[^>]*>([A-Z2-7 ]+)<', page.content.decode())
    assert secret is not None
    return App(secret[1].replace(" ", ""))


def codes_in(page: str) -> list[str]:
    """The recovery codes that a page shows."""
    return re.findall(r"^(?:.*>)?(\d{8})$", page, re.MULTILINE)
