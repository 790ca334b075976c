"""How much one call of a service takes: for the service, and for who calls it."""

from __future__ import annotations

# Users of one CheckUsers or GetNames.
MOST_CHECKED = 10_000
# Users of one GetOnlineUsers or ListHidden.
MOST_PRESENCES = 1000
# Pairs of one BatchIsBlocked.
MOST_PAIRS = 1000
# Users of one BatchListFriendIds.
MOST_LISTS = 100
# Of one AdvanceCursors, and who types in one RelayTyping.
MOST_MOVES = 1000
# Conversations that one Sync names, and messages of its answer.
MOST_CURSORS = 20_000
MOST_SYNCED = 500
