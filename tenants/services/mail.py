"""Sends letters by the mail server that the operator named. Writes none of them, and logs no address and no text."""

from __future__ import annotations

import logging
import smtplib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Final

from django.conf import settings
from django.core.mail import EmailMessage

from core.clientaddress import address_block
from tenants.services.counting import Counter, count

MOST_WAITING: Final = 200
"""Letters that wait to be sent in this process. What comes then is dropped, and its person asks again."""

HOUR: Final = 3600
LETTERS_TO_ADDRESS: Final = 6
"""An hour, that strangers may have sent to one e-mail address."""

LETTERS_FROM_ADDRESS: Final = 40
"""An hour, that one network address may have sent. Wide, since a whole office may have one."""

_log = logging.getLogger(__name__)
# One thread: letters leave one after another, and a slow mail server holds up no request.
_postman = ThreadPoolExecutor(1, thread_name_prefix="mail")
_places = BoundedSemaphore(MOST_WAITING)


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail to one person, in plain text. It may hold a link that opens something, so its ``repr`` shows nothing."""

    to: str = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)


def public_link(path: str) -> str:
    """An absolute URL of the dashboard, under the configured base, whatever Host a request named."""
    return f"{settings.ENV.base_url}/app/{path}"


def send(letter: Letter) -> bool:
    """Send now; whether the mail server took it. Never inside a transaction."""
    message = EmailMessage(
        letter.subject, letter.text, to=[letter.to], headers={"Auto-Submitted": "auto-generated"}
    )
    try:
        message.send()
    except (OSError, smtplib.SMTPException) as fault:
        # What it says may quote the letter.
        _log.warning("mail not sent: check EMAIL_URL", extra={"fault": type(fault).__name__})
        return False
    return True


def send_soon(letter: Letter) -> None:
    """Send once others are sent. How long that takes, and whether there is a letter at all, no answer's time tells."""
    if not _places.acquire(blocking=False):
        _log.warning("mail not sent: too many are waiting")
        return

    def deliver() -> None:
        try:
            send(letter)
        finally:
            _places.release()

    _postman.submit(deliver)


def claim_letter(to: str, *, address: str) -> int:
    """Count a letter that somebody at ``address``, not signed in, asks for. The seconds to wait; 0: it may be sent.

    Whether or not there is such an account. Without Redis nothing is counted.
    """
    return count(
        [
            Counter("letters:to", (to,), LETTERS_TO_ADDRESS),
            Counter("letters:from", (address_block(address),), LETTERS_FROM_ADDRESS),
        ],
        seconds=HOUR,
    )
