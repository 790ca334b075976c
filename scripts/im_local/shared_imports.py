"""What the fork server imports once for all services; it is the one that imports this module.

Each service has it at once when it is forked, and the pages that it fills are in memory once.
"""

import gc
import importlib
import os

MODULES = (
    "uvloop",
    "setproctitle",
    "im_common.runtime.process",
    "im_common.rpc.server",
    "im_common.sql.db",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "fastapi",
)

# What a terminal sends its foreground programs is the supervisor's to handle.
os.setsid()
gc.disable()
for _name in MODULES:
    importlib.import_module(_name)
# What is frozen is not walked by the collector, which would make the pages the child's own.
gc.freeze()
