"""What is none."""

from __future__ import annotations

NO_CONVERSATION_IDS = (
    "x",
    "s:1001",
    "s:1002:1001",
    "s:1:1",
    "s:0:1",
    "g:",
    "g:0",
    "g:-1",
    "g:1:2",
    "g:٣",
    "g:" + "9" * 19,
    "s:1:" + "9" * 60,
    "g:1e3",
    "s:1001:1002:1003",
)
