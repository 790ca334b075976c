"""What can keep the system from starting, in words for the one who started it."""


class LocalError(Exception):
    """A start that cannot go on; its text is the whole message, and `exit_code` the answer."""

    exit_code = 1


class PortTaken(LocalError):
    """A port that a process wants is in use already."""

    exit_code = 3
