"""Ids of uploaded files, and the texts that name them."""

from __future__ import annotations

import re

from uuid_utils import uuid7

# No other id and hardly any text has it: what a text that is not ours calls a file is left alone.
PREFIX = "f_"
MAX_FILE_ID = 34
_FILE_ID = re.compile(r"(?<![0-9A-Za-z_])f_[0-9a-f]{32}(?![0-9A-Za-z_])")


def new_file_id() -> str:
    """Sorts by time."""
    return PREFIX + uuid7().hex


def may_be_file_id(text: str) -> bool:
    """Whether a file can have this id."""
    return _FILE_ID.fullmatch(text) is not None


def named_files(*texts: str) -> tuple[str, ...]:
    """The files that the texts name, each once: by their ids alone, in a URL, or anywhere in JSON."""
    for text in texts:
        if PREFIX in text:
            break
    else:
        return ()
    return tuple(dict.fromkeys(match[0] for text in texts for match in _FILE_ID.finditer(text)))
