"""How somebody gets an account: by a link that only who reads their mail can have. Sends nothing and signs nobody in.

There is no account before its address is confirmed, so none can be made in another's name and lie in wait for them.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import transaction

from core.errors import Conflict, Forbidden, InvalidInput
from tenants.models import User
from tenants.services.inputs import clean_text, name_taken
from tenants.services.invitations import list_own_invitations
from tenants.services.person_log import record_of_person

LINK_SECONDS: Final = 24 * 3600
_SALT: Final = "marina.sign-up"


def require_sign_up() -> None:
    """Raise ``Forbidden`` where the operator has closed sign-up."""
    if settings.ENV.signup == "closed":
        raise Forbidden(
            "Sign-up is closed at this Marina. Ask its operator for an account.",
            rule="signup:closed",
            code="signup_closed",
        )


def has_account(email: str) -> bool:
    """Whether somebody has taken the account of this address. An address alone, added to a team, is not enough."""
    user = User.objects.filter(email=email).first()
    return user is not None and is_taken(user)


def may_sign_up(email: str) -> bool:
    """Whether the address gets a link: everybody where sign-up is open, and otherwise whom a team awaits."""
    if settings.ENV.signup != "invited":
        return bool(settings.ENV.signup == "open")
    # Both are always asked, or how long the answer takes would tell which address has an account.
    known, invited = User.objects.filter(email=email).exists(), bool(list_own_invitations(email))
    return known or invited


def make_sign_up_token(email: str) -> str:
    """What a mailed link carries: the address, signed."""
    return signing.dumps(email, salt=_SALT)


def read_sign_up_token(token: str) -> str | None:
    """The address that a link was mailed to; ``None``: it is none of ours, or too old."""
    try:
        email: str = signing.loads(token, salt=_SALT, max_age=LINK_SECONDS)
    except signing.BadSignature:
        return None
    return email


def create_account(email: str, name: str, password: str) -> User:
    """Make the account of an address that the caller has seen confirmed.

    Raises ``InvalidInput`` (with the path ``password`` for what Django's validators refuse), ``Forbidden`` where
    sign-up is closed, and ``Conflict`` where somebody has taken the account.
    """
    require_sign_up()
    shown = clean_text(name, "name", longest=120)
    try:
        validate_password(password, User(email=email, name=shown))
    except ValidationError as fault:
        errors = [{"path": "password", "message": message} for message in fault.messages]
        raise InvalidInput(f"password: {errors[0]['message']}", errors=errors) from None
    with transaction.atomic():
        user = User.objects.select_for_update().filter(email=email).first()
        if user is None:
            with name_taken("tenants_user_email_unique", _TAKEN):
                return User.objects.create_user(email, password, name=shown)
        if is_taken(user):
            raise Conflict(_TAKEN, code="account_exists")
        # A team added the address before its person came.
        user.name = shown
        user.set_password(password)
        user.save(update_fields=["name", "password"])
    return user


_TAKEN: Final = "There is an account with this address already. Sign in, or choose a new password."


def choose_password(user: User, password: str, *, by: str) -> None:
    """Give a person another password, and record that they did in the logs of the teams that they have come to.

    ``by`` is what they showed for it: their old ``password``, or a mailed ``link``. Checks neither.
    """
    with transaction.atomic():
        user.set_password(password)
        user.save(update_fields=["password"])
        record_of_person("password.changed", user=user, after={"by": by})


def is_taken(user: User) -> bool:
    """Whether somebody has shown that the account is theirs. That a team's provider knows its address shows nothing."""
    return user.has_usable_password() or user.last_login is not None or not user.is_active
