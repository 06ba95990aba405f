"""Who may open what. Every route is either open to everybody or names its roles; there is no third kind.

A session is a row of the database. Its random token is in a cookie that Starlette signs; logging out, disabling the account
or changing its password ends the row, and the cookie is worth nothing from then on.
"""

from __future__ import annotations

import functools
import inspect
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import parse_qs, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from node.language.phrase import phrase
from node.records.audit import Action, AuditEntry, AuditRecords
from node.records.users import Role, Session, SessionRecords, User
from node.settings.login import LoginSettings

LOGIN_PATH = "/login"
#: In the query of a page that refreshes itself: nobody has asked for it, so it does not prolong a session.
AUTO = "auto"
EVERYBODY_WITH_A_ROLE = frozenset(Role)

_CSRF_FIELD = "csrf"
_TOKEN, _FORM_TOKEN = "token", "form"
_SAFE_METHODS = ("GET", "HEAD")
_TOKEN_BYTES = 32
#: A refusal of one kind from one address is written once in this time, so that a stranger cannot fill the trail.
_REFUSED_AGAIN_S = 60.0
#: That one person looks at one page is written once in this time: pages refresh themselves.
_LOOKED_AGAIN_S = 600.0
_LOOKS = (Action.LIST, Action.VIEW)
_MOST_KNOWN = 10_000

Endpoint = Callable[[Request], Response] | Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sends a request; ``user`` is ``None`` for a stranger."""

    user: User | None
    csrf_token: str

    @property
    def is_administrator(self) -> bool:
        """Whether the person is one."""
        return self.user is not None and Role.ADMINISTRATOR in self.user.roles


class Trail:
    """Writes the audit trail for requests."""

    def __init__(self, records: AuditRecords) -> None:
        self._records = records
        self._looks = _Lately(_LOOKED_AGAIN_S)
        self._refusals = _Lately(_REFUSED_AGAIN_S)

    def add(self, request: Request, action: Action, subject: str = "", detail: str = "") -> None:
        """A person has done something."""
        user, address = visitor_of(request).user, address_of(request)
        entry = AuditEntry(action, True, user.name if user else "", address, subject, detail)
        if action not in _LOOKS or self._looks.is_new(entry):
            self._records.add(entry)

    def refused(self, request: Request, action: Action, detail: str, user_name: str = "") -> None:
        """Something was refused."""
        subject = request.url.path if action is Action.ACCESS else ""
        entry = AuditEntry(action, False, user_name, address_of(request), subject, detail)
        if self._refusals.is_new(entry):
            self._records.add(entry)

    def login_refused(self, request: Request, detail: str, user_name: str) -> None:
        """A login was refused: each one is written, as their number is limited by the lock-out."""
        self._records.add(AuditEntry(Action.LOGIN, False, user_name, address_of(request), "", detail))


class _Lately:
    """What was written a short while ago."""

    def __init__(self, lasts_s: float) -> None:
        self._lasts_s = lasts_s
        self._until_s: dict[AuditEntry, float] = {}

    def is_new(self, entry: AuditEntry) -> bool:
        """Whether the entry was not written lately; it is now."""
        now_s = time.monotonic()
        if now_s < self._until_s.get(entry, now_s):
            return False
        if len(self._until_s) >= _MOST_KNOWN:
            self._until_s.clear()
        self._until_s[entry] = now_s + self._lasts_s
        return True


class Gate:
    """Lets requests in."""

    def __init__(
        self, sessions: SessionRecords, trail: Trail, settings: LoginSettings, cookie_name: str, metrics: MetricsAccess
    ) -> None:
        self._sessions = sessions
        self._trail = trail
        self._settings = settings
        self._cookie_name = cookie_name
        self._metrics = metrics

    def open(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """A route for everybody; nothing about a patient may be behind it. Its forms are protected by themselves."""

        async def opened(request: Request) -> Response:
            return await _answer(endpoint, request)

        return functools.wraps(endpoint)(opened)

    def login_form(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """A route for everybody with a form: the form must come from a page of this browser's session."""

        async def opened(request: Request) -> Response:
            await run_in_threadpool(self._identify, request)
            await self._check_form(request)
            return await _answer(endpoint, request)

        return functools.wraps(endpoint)(opened)

    def only(self, endpoint: Endpoint, *roles: Role) -> Callable[[Request], Awaitable[Response]]:
        """A route for accounts that have one of the roles; for all that have any, if none is named."""
        wanted = frozenset(roles) or EVERYBODY_WITH_A_ROLE

        async def guarded(request: Request) -> Response:
            visitor = await run_in_threadpool(self._identify, request)
            if visitor.user is None:
                return await run_in_threadpool(self._to_login, request)
            if not visitor.user.roles & wanted:
                await run_in_threadpool(
                    self._trail.refused, request, Action.ACCESS, "the role is missing", visitor.user.name
                )
                raise HTTPException(403, phrase("Your account does not have the role for this page."))
            await self._check_form(request)
            if AUTO not in request.query_params:
                await run_in_threadpool(self._sessions.seen, request.session[_TOKEN])
            return await _answer(endpoint, request)

        return functools.wraps(endpoint)(guarded)

    def metrics(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """``/metrics``: the token, this machine, or an administrator."""

        async def guarded(request: Request) -> Response:
            if not self._metrics.admits(request):
                visitor = await run_in_threadpool(self._identify, request)
                if not visitor.is_administrator:
                    name = visitor.user.name if visitor.user else ""
                    await run_in_threadpool(self._trail.refused, request, Action.ACCESS, "no token for metrics", name)
                    raise HTTPException(
                        403, phrase("Metrics need the token of web.metrics_token_file, or a request from this machine.")
                    )
            return await _answer(endpoint, request)

        return functools.wraps(endpoint)(guarded)

    def begin(self, request: Request, user: User) -> None:
        """Begin a session. What the cookie held before is forgotten, so that nobody can have planted it."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        csrf_token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._sessions.begin(token, user.name, csrf_token, self._settings.session_hours * 3600)
        request.session.clear()
        request.session[_TOKEN] = token
        request.state.visitor = Visitor(user, csrf_token)
        self._trail.add(request, Action.LOGIN, detail=user.source.value)

    def end(self, request: Request) -> None:
        """End the session of the request."""
        self._trail.add(request, Action.LOGOUT)
        self._sessions.end(request.session.get(_TOKEN, ""), "logged out")
        request.session.clear()

    def _identify(self, request: Request) -> Visitor:
        """Who sends the request. A cookie that is not what the node gave away is written into the trail, and cleared."""
        visitor = Visitor(None, "")
        session = self._session(request)
        if session is not None and not session.ended_because:
            visitor = Visitor(session.user, session.csrf_token)
        else:
            if session is not None and session.ended_because != "expired":
                detail = f"the session has ended: {session.ended_because}"
                self._trail.refused(request, Action.SESSION, detail, session.user.name)
            request.session.pop(_TOKEN, None)
            visitor = Visitor(None, request.session.get(_FORM_TOKEN, ""))
        request.state.visitor = visitor
        return visitor

    def _session(self, request: Request) -> Session | None:
        if not request.session and request.cookies.get(self._cookie_name):
            self._trail.refused(request, Action.SESSION, "the cookie is altered or too old")
        token = request.session.get(_TOKEN)
        if not token:
            return None
        session = self._sessions.session(token, self._settings.idle_minutes * 60)
        if session is None:
            self._trail.refused(request, Action.SESSION, "the session is not known")
        return session

    async def _check_form(self, request: Request) -> None:
        if request.method in _SAFE_METHODS:
            return
        expected = visitor_of(request).csrf_token
        given = (await form_of(request)).get(_CSRF_FIELD, "")
        if not expected or not secrets.compare_digest(expected.encode(), given.encode()):
            user = visitor_of(request).user
            name = user.name if user else ""
            await run_in_threadpool(self._trail.refused, request, Action.FORM, "the token of the form is wrong", name)
            raise HTTPException(403, phrase("This form has expired. Go back, reload the page, and try again."))

    def _to_login(self, request: Request) -> Response:
        if request.method not in _SAFE_METHODS or "text/html" not in request.headers.get("accept", "text/html"):
            raise HTTPException(401, phrase("Log in first."))
        page = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{LOGIN_PATH}?{urlencode({'next': page})}" if page != "/" else LOGIN_PATH, 303)


class MetricsAccess:
    """Who may read ``/metrics`` without a login."""

    def __init__(self, token: str, *, is_behind_proxy: bool) -> None:
        """Take the token; empty: none.

        Args:
            is_behind_proxy: what seems to come from this machine may then come through the proxy.
        """
        self._token = token
        self._is_behind_proxy = is_behind_proxy

    def admits(self, request: Request) -> bool:
        """Whether the request has the token, or comes from this machine."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if self._token and scheme.lower() == "bearer":
            return secrets.compare_digest(given.strip().encode(), self._token.encode())
        is_forwarded = "x-forwarded-for" in request.headers or "forwarded" in request.headers
        return not (self._is_behind_proxy or is_forwarded) and _is_loopback(address_of(request))


def visitor_of(request: Request) -> Visitor:
    """Who sends the request; a stranger on open routes."""
    visitor: Visitor = getattr(request.state, "visitor", Visitor(None, ""))
    return visitor


def address_of(request: Request) -> str:
    """Where the request comes from; the browser's address if a trusted proxy states it."""
    return request.client.host if request.client else ""


def form_token(request: Request) -> str:
    """Token for a form that a stranger may send; it is kept in the signed cookie."""
    if _FORM_TOKEN not in request.session:
        request.session[_FORM_TOKEN] = secrets.token_urlsafe(_TOKEN_BYTES)
    token: str = request.session[_FORM_TOKEN]
    return token


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a form; of repeated ones the first."""
    try:
        fields = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=50)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    if inspect.iscoroutinefunction(endpoint):
        answer: Response = await endpoint(request)
    else:
        # plain functions: a slow database blocks a thread and not the server
        plain = cast("Callable[[Request], Response]", endpoint)
        answer = await run_in_threadpool(plain, request)
    return answer


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
