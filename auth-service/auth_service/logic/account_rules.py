"""What a username, an email and a new account must look like."""

from __future__ import annotations

import re
import unicodedata

from auth_service.model.credentials import NewAccount
from im_common.domain.names import MAX_EMAIL, MAX_NICKNAME, clean_text
from im_common.errors import invalid

_USERNAME = re.compile(r"[A-Za-z0-9_.-]{3,32}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


def new_account(*, username: str, nickname: str, email: str) -> NewAccount:
    """Raises INVALID_ARGUMENT."""
    username_key = key_of_username(username)
    if username_key is None:
        raise invalid("username", "must be 3 to 32 of letters, digits, _ . and -")
    name = clean_text("nickname", nickname, most=MAX_NICKNAME) or username
    return NewAccount(username, username_key, name, email, _key_of_email(email))


def key_of_username(username: str) -> str | None:
    """As usernames are compared; None for what no username can be."""
    return username.lower() if _USERNAME.fullmatch(username) else None


def _key_of_email(email: str) -> str | None:
    if not email:
        return None
    clean_text("email", email, most=MAX_EMAIL)
    key = unicodedata.normalize("NFC", email).lower()
    if not _EMAIL.fullmatch(email) or len(key) > MAX_EMAIL:
        raise invalid("email", "must be an address like name@example.org")
    return key
