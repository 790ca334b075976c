"""The routes, one module for each area: JSON in, one gRPC call, JSON out."""

from api_gateway.routes import (
    auth,
    conversations,
    export,
    files,
    friends,
    group_members,
    groups,
    messages,
    users,
)

ROUTERS = (
    auth.router,
    auth.keys_router,
    export.router,
    users.router,
    friends.router,
    friends.blocks_router,
    group_members.router,
    groups.router,
    messages.router,
    conversations.router,
    files.router,
)
