"""What a client says of the device that it runs on."""

from __future__ import annotations

from im_common.domain.names import clean_text
from im_common.errors import invalid

PLATFORMS = ("ios", "android", "web", "desktop", "other")
MAX_DEVICE_ID = 64


def check_device_id(device_id: str) -> str:
    """Without space around it; empty when the client has no name for it. INVALID_ARGUMENT."""
    return clean_text("device_id", device_id, most=MAX_DEVICE_ID)


def check_platform(platform: str) -> str:
    """As it is. INVALID_ARGUMENT."""
    if platform not in PLATFORMS:
        raise invalid("platform", f"must be one of {', '.join(PLATFORMS)}")
    return platform
