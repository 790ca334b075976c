"""What the page shows and does: functions of `im_admin`, in the name of who is logged in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api_gateway.admin.files import FILES
from api_gateway.admin.guard import read_form
from api_gateway.admin.pages import PREFIX, page, see
from api_gateway.admin.sessions import Sessions, forget, signed_in
from im_admin import accounts, audit, dead_letters, groups, messages
from im_admin.operator import Operator
from im_common.domain.ids import read_id
from im_common.errors import AppError, Code, invalid

View = Callable[[Request, Operator], Awaitable[Response]]
MOST = 100
# What was done, as the next page says it.
DONE = {
    "disabled": "The account is disabled; its sessions end within seconds.",
    "enabled": "The account is enabled.",
    "deleted": "The account is deleted; the rest of it follows within seconds.",
    "ended": "Ended.",
    "dismissed": "The group is dismissed.",
    "replayed": "The letter is on its topic again.",
}


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


def _done(request: Request) -> str:
    return DONE.get(request.query_params.get("done", ""), "")


def signed(view: View) -> Callable[[Request], Awaitable[Response]]:
    """Only for who is logged in."""

    @wraps(view)
    async def checked(request: Request) -> Response:
        return await view(request, await _sessions(request).operator(request))

    return checked


async def show_log_in(_request: Request) -> Response:
    return page("login", error="", username="")


async def log_in(request: Request) -> Response:
    form = await read_form(request)
    username = form.get("username", "")
    try:
        token = await _sessions(request).log_in(username, form.get("password", ""))
    except AppError as error:
        return page("login", error.traits.http, error=error.message, username=username)
    return signed_in(request, token)


async def log_out(request: Request) -> Response:
    answer = see("/login")
    forget(request, answer)
    await _sessions(request).log_out(request)
    return answer


@signed
async def overview(request: Request, operator: Operator) -> Response:
    figures = await request.app.state.overview.figures()
    return page("overview", who=operator.who, here="overview", **figures)


@signed
async def find_users(request: Request, operator: Operator) -> Response:
    text = request.query_params.get("q", "").strip()
    only_disabled = "disabled" in request.query_params
    found = await accounts.find_users(operator, text, only_disabled=only_disabled, most=MOST)
    return page(
        "users",
        who=operator.who,
        here="users",
        done=_done(request),
        text=text,
        only_disabled=only_disabled,
        users=found,
        most=MOST,
    )


@signed
async def show_user(request: Request, operator: Operator) -> Response:
    user = await accounts.show_user(operator, request.path_params["user_id"])
    return page("user", who=operator.who, here="users", done=_done(request), user=user)


@signed
async def change_user(request: Request, operator: Operator) -> Response:
    form, user_id = await read_form(request), request.path_params["user_id"]
    back = f"/users/{user_id}?done="
    match form.get("do"):
        case "disable" | "enable" as do:
            await accounts.set_disabled(operator, user_id, disabled=do == "disable")
            return see(f"{back}{do}d")
        case "end":
            await accounts.end_sessions(operator, user_id, form.get("session", ""))
            return see(f"{back}ended")
        case "delete":
            _check_sure(form)
            await accounts.delete_user(operator, user_id)
            return see("/users?done=deleted")
    raise invalid("do", "must be disable, enable, end or delete")


@signed
async def find_groups(request: Request, operator: Operator) -> Response:
    text = request.query_params.get("q", "").strip()
    user = request.query_params.get("of", "").strip()
    found = await groups.find_groups(operator, text, user=user, most=MOST)
    return page(
        "groups",
        who=operator.who,
        here="groups",
        done=_done(request),
        text=text,
        user=user,
        groups=found,
        most=MOST,
    )


@signed
async def show_group(request: Request, operator: Operator) -> Response:
    group = await groups.show_group(operator, request.path_params["group_id"], most=500)
    return page("group", who=operator.who, here="groups", group=group)


@signed
async def change_group(request: Request, operator: Operator) -> Response:
    form = await read_form(request)
    if form.get("do") != "dismiss":
        raise invalid("do", "must be dismiss")
    _check_sure(form)
    await groups.dismiss_group(operator, request.path_params["group_id"])
    return see("/groups?done=dismissed")


@signed
async def ask_for_messages(request: Request, operator: Operator) -> Response:
    conversation = request.query_params.get("conversation", "")
    return page(
        "messages",
        who=operator.who,
        here="messages",
        conversation=conversation,
        reason="",
        found=None,
    )


@signed
async def read_messages(request: Request, operator: Operator) -> Response:
    """By a form, so that neither the reason nor who asks for what is in an address."""
    form = await read_form(request)
    conversation, reason = form.get("conversation", ""), form.get("reason", "")
    before = form.get("before", "0")
    seq = 0 if before == "0" else read_id(before)
    if seq is None:
        raise invalid("before", "must be the seq of a message")
    found = await messages.read_messages(operator, conversation, reason, before=seq)
    return page(
        "messages",
        who=operator.who,
        here="messages",
        conversation=conversation,
        reason=reason,
        found=found,
    )


@signed
async def list_letters(request: Request, operator: Operator) -> Response:
    found = await dead_letters.list_letters(operator, most=MOST)
    return page(
        "letters",
        who=operator.who,
        here="letters",
        done=_done(request),
        letters=found,
        most=MOST,
    )


@signed
async def show_letter(request: Request, operator: Operator) -> Response:
    (letter,) = await dead_letters.show_letters(operator, [request.path_params["letter"]])
    return page("letter", who=operator.who, here="letters", letter=letter)


@signed
async def replay_letter(request: Request, operator: Operator) -> Response:
    form = await read_form(request)
    again = form.get("again") == "yes"
    await dead_letters.replay_letters(operator, [request.path_params["letter"]], again=again)
    return see("/letters?done=replayed")


@signed
async def list_deeds(request: Request, operator: Operator) -> Response:
    who = request.query_params.get("who", "").strip()
    target = request.query_params.get("target", "").strip()
    found = await audit.list_deeds(operator, who=who, target=target, most=MOST)
    return page(
        "audit",
        who=operator.who,
        here="audit",
        wanted={"who": who, "target": target},
        deeds=found,
        most=MOST,
    )


def _check_sure(form: dict[str, str]) -> None:
    if form.get("sure") != "yes":
        raise AppError(
            Code.INVALID_ARGUMENT, "nothing was done: it must be confirmed", field="sure"
        )


ROUTES = [
    Route(PREFIX, overview),
    Route(f"{PREFIX}/login", show_log_in, methods=["GET"]),
    Route(f"{PREFIX}/login", log_in, methods=["POST"]),
    Route(f"{PREFIX}/logout", log_out, methods=["POST"]),
    Route(f"{PREFIX}/users", find_users, methods=["GET"]),
    Route(f"{PREFIX}/users/{{user_id}}", show_user, methods=["GET"]),
    Route(f"{PREFIX}/users/{{user_id}}", change_user, methods=["POST"]),
    Route(f"{PREFIX}/groups", find_groups, methods=["GET"]),
    Route(f"{PREFIX}/groups/{{group_id}}", show_group, methods=["GET"]),
    Route(f"{PREFIX}/groups/{{group_id}}", change_group, methods=["POST"]),
    Route(f"{PREFIX}/messages", ask_for_messages, methods=["GET"]),
    Route(f"{PREFIX}/messages", read_messages, methods=["POST"]),
    Route(f"{PREFIX}/letters", list_letters, methods=["GET"]),
    Route(f"{PREFIX}/letters/{{letter:path}}", show_letter, methods=["GET"]),
    Route(f"{PREFIX}/letters/{{letter:path}}", replay_letter, methods=["POST"]),
    Route(f"{PREFIX}/audit", list_deeds, methods=["GET"]),
    *(Route(f"{PREFIX}/{name}", answer) for name, answer in FILES.items()),
]
