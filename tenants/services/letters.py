"""What Marina's letters say. Pure text: every link comes from outside, and nothing here is sent."""

from __future__ import annotations

from datetime import datetime

from tenants.services.mail import Letter

_FOOT = "\n\nIf you did not expect this letter, do nothing: without the link nothing happens.\n"


def reset_letter(to: str, link: str) -> Letter:
    """To somebody who forgot their password."""
    return Letter(
        to,
        "Choose a new password for Marina",
        "Somebody, most likely you, asked for a new password for your account at Marina.\n\n"
        f"Choose it here, within four hours:\n{link}{_FOOT}",
    )


def sign_up_letter(to: str, link: str) -> Letter:
    """To an address that wants an account: whoever reads it has the address."""
    return Letter(
        to,
        "Finish signing up for Marina",
        f"Somebody, most likely you, wants an account at Marina with this address.\n\n"
        f"Choose a name and a password here, within a day:\n{link}{_FOOT}",
    )


def known_letter(to: str, sign_in: str, forgotten: str) -> Letter:
    """To an address that wants an account and has one."""
    return Letter(
        to,
        "You have an account at Marina already",
        "Somebody, most likely you, wanted an account at Marina with this address. There is one already.\n\n"
        f"Sign in:\n{sign_in}\n\nForgot the password?\n{forgotten}{_FOOT}",
    )


def invitation_letter(
    to: str, *, team: str, role: str, inviter: str, link: str, expires_at: datetime
) -> Letter:
    """To somebody whom a team invites."""
    return Letter(
        to,
        f"{inviter} invites you to the team {team} at Marina",
        f"{inviter} invites you to the team {team} at Marina, as {role}.\n\n"
        f"Join here, until {expires_at:%d %B %Y, %H:%M} UTC:\n{link}\n\n"
        "The link is for you alone: it works once, and only for this address." + _FOOT,
    )


def factor_letter(to: str, words: str, account: str) -> Letter:
    """To somebody whose ways of signing in have changed. ``words`` say how."""
    return Letter(
        to,
        "How you sign in to Marina has changed",
        f"{words}\n\nYour ways of signing in, and where you are signed in:\n{account}\n\n"
        "If this was not you: choose a new password there at once, sign all other browsers out, and look at your "
        "second factors. If you cannot get in, tell the operator of this Marina.\n",
    )
