"""The commands: their words, what they take, and the function that does it."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from im_admin import (
    accounts,
    audit,
    dead_letters,
    groups,
    keys,
    messages,
    processes,
    retention,
    waiting,
)
from im_admin.operator import Operator
from im_admin.plain import Answer

Run = Callable[[Operator, Namespace], Awaitable[Answer]]


def _nothing(_parser: ArgumentParser) -> None: ...


@dataclass(frozen=True)
class Command:
    """`words` is what is typed; `help` one sentence; `more` what an operator wants to know before."""

    words: str
    help: str
    run: Run
    configure: Callable[[ArgumentParser], None] = _nothing
    more: str = ""
    # What cannot be taken back is asked for once more, unless --yes says it.
    asks: str = ""


@dataclass(frozen=True)
class Group:
    """Commands that share their first word."""

    name: str
    help: str
    commands: tuple[Command, ...]


def _many(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise ArgumentTypeError("must be a number from 1 to 100000")
    return int(text)


def _seq(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 2**63:
        raise ArgumentTypeError("must be the seq of a message")
    return int(text)


def _page(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise ArgumentTypeError("must be a number from 1 to 100")
    return int(text)


def _most(parser: ArgumentParser) -> None:
    parser.add_argument("--most", type=_many, default=50, metavar="N", help="so many (default: 50)")


def _user(parser: ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="a user id or a username")


def _find(parser: ArgumentParser) -> None:
    parser.add_argument(
        "text",
        metavar="TEXT",
        nargs="?",
        default="",
        help="the beginning of a name, an email, an id",
    )
    parser.add_argument("--disabled", action="store_true", help="only those that are shut")
    _most(parser)


def _end(parser: ArgumentParser) -> None:
    _user(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("session", metavar="SESSION", nargs="?", default="", help="as list says")
    which.add_argument("--all", action="store_true", help="all of the user's")


def _find_groups(parser: ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", nargs="?", default="", help="a part of the name")
    parser.add_argument("--of", default="", metavar="USER", help="only those of this user")
    _most(parser)


def _group(parser: ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help="a group id")


def _show_group(parser: ArgumentParser) -> None:
    _group(parser)
    _most(parser)


def _days(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--days", type=_many, metavar="N", help="keep so many (default: RetentionDays)"
    )


def _letters(parser: ArgumentParser) -> None:
    parser.add_argument(
        "letters", metavar="LETTER", nargs="+", help=f"as list says, or {dead_letters.ALL}"
    )


def _replay(parser: ArgumentParser) -> None:
    _letters(parser)
    parser.add_argument("--again", action="store_true", help="also what was replayed before")


def _messages(parser: ArgumentParser) -> None:
    parser.add_argument(
        "conversation", metavar="CONVERSATION", help="s:A:B, g:G, or two users in quotes"
    )
    parser.add_argument("--reason", required=True, help="why, for the audit log")
    parser.add_argument(
        "--before", type=_seq, default=0, metavar="SEQ", help="only older ones than this"
    )
    parser.add_argument(
        "--most", type=_page, default=50, metavar="N", help="so many, up to 100 (default: 50)"
    )


def _frames(parser: ArgumentParser) -> None:
    _user(parser)
    _most(parser)


def _deeds(parser: ArgumentParser) -> None:
    parser.add_argument("--who", default="", metavar="NAME", help="only what this one did")
    parser.add_argument(
        "--target", default="", metavar="TARGET", help="only what was done to it, as `user 1001`"
    )
    _most(parser)


USERS = Group(
    "users",
    "accounts",
    (
        Command(
            "users find",
            "find accounts by the beginning of a username, an email or an id",
            lambda o, a: accounts.find_users(o, a.text, only_disabled=a.disabled, most=a.most),
            _find,
            "im-admin users find ann\nim-admin users find --disabled --json",
        ),
        Command(
            "users show",
            "an account with its sessions, its connections and what waits for it",
            lambda o, a: accounts.show_user(o, a.user),
            _user,
            "im-admin users show ann\nim-admin users show 1001",
        ),
        Command(
            "users disable",
            "shut an account: its sessions end within seconds, nobody can log in to it or find it",
            lambda o, a: accounts.set_disabled(o, a.user, disabled=True),
            _user,
            "im-admin users disable ann\n\nCan be repeated, and should be when a part was away.",
        ),
        Command(
            "users enable",
            "open an account again",
            lambda o, a: accounts.set_disabled(o, a.user, disabled=False),
            _user,
            "im-admin users enable ann",
        ),
        Command(
            "users promote",
            "let an account into the operators' page: the admin role",
            lambda o, a: accounts.set_admin(o, a.user, admin=True),
            _user,
            "im-admin users promote ann\n\nThe first admin is made so; there is no other way.",
        ),
        Command(
            "users demote",
            "take the admin role: the page refuses the next request",
            lambda o, a: accounts.set_admin(o, a.user, admin=False),
            _user,
            "im-admin users demote ann",
        ),
        Command(
            "users delete",
            "end an account for good",
            lambda o, a: accounts.delete_user(o, a.user),
            _user,
            "im-admin users delete ann --yes\n\nSessions end at once. The profile, friendships and"
            " memberships are gone some\nseconds later, whatever is away meanwhile; messages stay."
            " The name is free again.",
            asks="This cannot be taken back.",
        ),
    ),
)
SESSIONS = Group(
    "sessions",
    "who is logged in, and where",
    (
        Command(
            "sessions list",
            "a user's sessions, newest first",
            lambda o, a: accounts.list_sessions(o, a.user),
            _user,
            "im-admin sessions list ann",
        ),
        Command(
            "sessions end",
            "end one session of a user, or all; their connections close within seconds",
            lambda o, a: accounts.end_sessions(o, a.user, a.session),
            _end,
            "im-admin sessions end ann 0c9f…\nim-admin sessions end ann --all",
        ),
    ),
)
GROUPS = Group(
    "groups",
    "groups and their members",
    (
        Command(
            "groups find",
            "find groups by a part of their name or a member, newest first",
            lambda o, a: groups.find_groups(o, a.text, user=a.of, most=a.most),
            _find_groups,
            "im-admin groups find sea\nim-admin groups find --of ann",
        ),
        Command(
            "groups show",
            "a group with its members",
            lambda o, a: groups.show_group(o, a.group, most=a.most),
            _show_group,
            "im-admin groups show 1001 --most 500",
        ),
        Command(
            "groups dismiss",
            "end a group as its owner could: members are told, the history stays with them",
            lambda o, a: groups.dismiss_group(o, a.group),
            _group,
            "im-admin groups dismiss 1001 --yes",
            asks="This cannot be taken back.",
        ),
    ),
)
MESSAGES = Group(
    "messages",
    "what people wrote in a conversation that was reported",
    (
        Command(
            "messages read",
            "a page of a conversation, the newest first; the reason is noted before",
            lambda o, a: messages.read_messages(
                o, a.conversation, a.reason, before=a.before, most=a.most
            ),
            _messages,
            "im-admin messages read g:1001 --reason 'report 17: threats'\n"
            "im-admin messages read 'ann bob' --reason 'report 18' --before 51",
        ),
    ),
)
DEAD_LETTERS = Group(
    "dead-letters",
    "records that could not be worked on",
    (
        Command(
            "dead-letters list",
            "each with its reason, oldest first",
            lambda o, a: dead_letters.list_letters(o, most=a.most),
            _most,
            "im-admin dead-letters list",
        ),
        Command(
            "dead-letters show",
            "all that can be said of some; what people wrote is in it",
            lambda o, a: dead_letters.show_letters(o, a.letters),
            _letters,
            "im-admin dead-letters show 0/17\nim-admin dead-letters show all --json",
        ),
        Command(
            "dead-letters replay",
            "put some on their topics again, each once, when the cause is gone",
            lambda o, a: dead_letters.replay_letters(o, a.letters, again=a.again),
            _replay,
            "im-admin dead-letters replay 0/17\nim-admin dead-letters replay all\n\nThey stay in the"
            " list. A message that was stored after all keeps its place. One that\nis given up again"
            " is a new letter.",
        ),
    ),
)
WAITING = (
    Group(
        "lag",
        "what consumers have left to do",
        (
            Command(
                "lag show",
                "records that chat-mq has not committed, also while none of it runs",
                lambda o, _: waiting.consumer_lag(o),
                more="im-admin lag show",
            ),
        ),
    ),
    Group(
        "outbox",
        "events that wait for the log",
        (
            Command(
                "outbox show",
                "how many wait in each service, and since when; 10000 stands for more, too",
                lambda o, _: waiting.outbox_backlogs(o),
                more="im-admin outbox show",
            ),
        ),
    ),
    Group(
        "offline",
        "frames that wait for users who are away",
        (
            Command(
                "offline list",
                "the longest lists; it goes through all keys of Redis",
                lambda o, a: waiting.offline_lists(o, most=a.most),
                _most,
                "im-admin offline list --most 10",
            ),
            Command(
                "offline show",
                "what waits for a user, oldest first; not what was written",
                lambda o, a: waiting.offline_frames(o, a.user, most=a.most),
                _frames,
                "im-admin offline show ann",
            ),
        ),
    ),
)
KEYS = Group(
    "keys",
    "the keys that sign access tokens",
    (
        Command(
            "keys list",
            "the keys in force, newest first, and which of them signs",
            lambda o, _: keys.list_keys(o),
            more="im-admin keys list",
        ),
        Command(
            "keys rotate",
            "add a key that signs two seconds later; nobody is logged out",
            lambda o, _: keys.rotate_keys(o),
            more="im-admin keys rotate\n\nWhere auth-service's key file may be written"
            " (IM_KEYS__FILE). Keys whose tokens have\nall expired are dropped.",
        ),
    ),
)
RETENTION = Group(
    "retention",
    "how long messages are kept",
    (
        Command(
            "retention show",
            "what the settings of chat-service say",
            lambda o, _: retention.show_retention(o),
            more="im-admin retention show",
        ),
        Command(
            "retention run",
            "remove messages that are older",
            lambda o, a: retention.run_retention(o, a.days),
            _days,
            "im-admin retention run --days 365 --yes\n\nEach conversation loses its oldest messages,"
            " up to the first that is younger. Can be\nended at any time, and repeated.",
            asks="This cannot be taken back.",
        ),
    ),
)
PROCESSES = Group(
    "processes",
    "what runs",
    (
        Command(
            "processes list",
            "each instance that others can find, with its version and whether it answers",
            lambda o, _: processes.list_processes(o),
            more="im-admin processes list",
        ),
    ),
)
AUDIT = Group(
    "audit",
    "what operators have done",
    (
        Command(
            "audit list",
            "who did what to whom, newest first",
            lambda o, a: audit.list_deeds(o, who=a.who, target=a.target, most=a.most),
            _deeds,
            "im-admin audit list --target 'user 1001'\n\nEach command that changes something notes"
            " it before it does it, and its outcome\nafterwards: `ok`, the code of an error, or `-`"
            " when it never got so far.",
        ),
    ),
)
ALL = (USERS, SESSIONS, GROUPS, MESSAGES, DEAD_LETTERS, PROCESSES, *WAITING, KEYS, RETENTION, AUDIT)
