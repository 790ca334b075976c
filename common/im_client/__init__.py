"""The hard part of a client, written once: connect and come back, send once, show once, in order.

`ImClient` is where to begin.
"""

from im_client.client import ImClient
from im_client.close_codes import Action, Next, after_close, backoff_s
from im_client.connection import State
from im_client.conversation import Conversation, Cursors
from im_client.errors import ApiError, ImError, MessageRefused, SessionEnded, StorageInUse
from im_client.messages import Message, Pending
from im_client.signals import LoggedIn, Signals
from im_client.storage import MemoryStorage, SqliteStorage, Storage

__version__ = "1.0.0"

__all__ = [
    "Action",
    "ApiError",
    "Conversation",
    "Cursors",
    "ImClient",
    "ImError",
    "LoggedIn",
    "MemoryStorage",
    "Message",
    "MessageRefused",
    "Next",
    "Pending",
    "SessionEnded",
    "Signals",
    "SqliteStorage",
    "State",
    "Storage",
    "StorageInUse",
    "after_close",
    "backoff_s",
]
