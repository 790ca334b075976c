"""Texts that people give to themselves and to things."""

from __future__ import annotations

import unicodedata

from im_common.errors import invalid

MAX_NICKNAME = 64
MAX_EMAIL = 254


def clean_text(field: str, text: str, *, most: int, least: int = 0, lines: bool = False) -> str:
    """``text`` without space around it; a length is in characters (code points).

    Raises:
        AppError: INVALID_ARGUMENT when it is too short or too long, or has control characters
            (line ends are allowed with ``lines``) or code points that are no characters.
    """
    text = text.strip()
    if not least <= len(text) <= most:
        limits = f"{least} to {most}" if least else f"at most {most}"
        raise invalid(field, f"must have {limits} characters")
    if any(_is_unusable(character) for character in text if not (lines and character == "\n")):
        raise invalid(field, "has control characters")
    return text


def _is_unusable(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or ord(character) & 0xFFFE == 0xFFFE
