"""The pages for logging in and out, and for one's own account."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from node.people import Because, Logins, Refusal, password_problem
from node.records.audit import Action
from node.records.users import Source, User, UserRecords
from node.settings.login import LoginSettings
from node.web.access import Gate, Trail, address_of, form_of, form_token, visitor_of
from node.web.oidc import Provider

Render = Callable[..., Response]

_SAID = {
    Because.WRONG: "The name or the password is wrong, or the account is disabled.",
    Because.DISABLED: "The name or the password is wrong, or the account is disabled.",
    Because.LOCKED: "There were too many failed logins. Wait some minutes, or ask an administrator to run "
    "bmd-node users unlock.",
    Because.NO_ROLE: "Your account is in no group that may use these pages. Ask the administrator of the node.",
    Because.OTHER_ACCOUNT: "Another account of the node has this name. Ask the administrator of the node.",
    Because.UNREACHABLE: "The directory of the hospital does not answer. Try again later.",
}
_STATUS = {Because.LOCKED: 429, Because.UNREACHABLE: 503}


class LoginPages:
    """The handlers."""

    def __init__(
        self,
        render: Render,
        gate: Gate,
        trail: Trail,
        users: UserRecords,
        logins: Logins,
        settings: LoginSettings,
        provider: Provider | None,
        *,
        has_directory: bool,
    ) -> None:
        self._render = render
        self._gate = gate
        self._trail = trail
        self._users = users
        self._logins = logins
        self._settings = settings
        self._provider = provider
        self._has_directory = has_directory

    def show(self, request: Request) -> Response:
        """The form, or that there is no account yet and what to do."""
        if visitor_of(request).user is not None:
            return RedirectResponse("/", 303)
        return self._form(request, _inside(request.query_params.get("next", "")))

    async def send(self, request: Request) -> Response:
        """Check name and password."""
        form = await form_of(request)
        return await run_in_threadpool(self._check, request, form)

    def leave(self, request: Request) -> Response:
        """Log out."""
        self._gate.end(request)
        return RedirectResponse("/login", 303)

    def account(self, request: Request) -> Response:
        """One's own account, with a form for another password."""
        return self._account(request, "")

    async def change_password(self, request: Request) -> Response:
        """Set another password; all sessions of the account end, and a new one begins."""
        form = await form_of(request)
        return await run_in_threadpool(self._change_password, request, form)

    async def to_provider(self, request: Request) -> Response:
        """Send the browser to the provider."""
        if self._provider is None:
            return RedirectResponse("/login", 303)
        page = _inside(request.query_params.get("next", ""))
        request.session["next"] = page
        answer = await self._provider.redirect(request)
        if answer is None:
            return await run_in_threadpool(self._form, request, page, "The provider does not answer. Try again later.", 503)
        return answer

    async def from_provider(self, request: Request) -> Response:
        """The browser comes back from the provider."""
        if self._provider is None:
            return RedirectResponse("/login", 303)
        page = _inside(str(request.session.get("next", "")))
        person = await self._provider.person(request)
        if person is None:
            said = "the provider's answer is not valid"
            await run_in_threadpool(self._trail.refused, request, Action.LOGIN, said)
            return await run_in_threadpool(self._form, request, page, "The provider did not confirm the login.", 403)
        found = await run_in_threadpool(self._logins.by_provider, person, Source.OIDC)
        return await run_in_threadpool(self._entered, request, found, page)

    def _check(self, request: Request, form: dict[str, str]) -> Response:
        name, password = form.get("name", ""), form.get("password", "")
        found = self._logins.by_password(name, password, address_of(request))
        return self._entered(request, found, _inside(form.get("next", "")))

    def _entered(self, request: Request, found: User | Refusal, page: str) -> Response:
        if isinstance(found, Refusal):
            if found.because is Because.LOCKED:
                self._trail.refused(request, Action.LOGIN, found.because.value, found.name)
            else:
                self._trail.login_refused(request, found.because.value, found.name)
            return self._form(request, page, _SAID[found.because], _STATUS.get(found.because, 403))
        self._gate.begin(request, found)
        return RedirectResponse(page, 303)

    def _form(self, request: Request, page: str, problem: str = "", status: int = 200) -> Response:
        answer = self._render(
            request,
            "login.html",
            problem=problem,
            next=page,
            csrf=form_token(request),
            has_accounts=self._has_directory or self._provider is not None or not self._users.is_empty(),
            provider="" if self._provider is None else self._provider.label,
            refresh_s=None,
        )
        answer.status_code = status
        return answer

    def _account(self, request: Request, problem: str, status: int = 200) -> Response:
        answer = self._render(
            request,
            "account.html",
            problem=problem,
            has_password=_user(request).source is Source.LOCAL,
            least=self._settings.min_password_length,
            refresh_s=None,
        )
        answer.status_code = status
        return answer

    def _change_password(self, request: Request, form: dict[str, str]) -> Response:
        user, new = _user(request), form.get("new", "")
        if user.source is not Source.LOCAL:
            return self._account(request, "Your password is not kept here.", 403)
        problem = password_problem(new, user.name, self._settings.min_password_length)
        if new != form.get("again", ""):
            problem = "The new passwords differ."
        if problem:
            return self._account(request, problem, 422)
        refusal = self._logins.change_password(user, form.get("old", ""), new, address_of(request))
        if refusal is not None:
            self._trail.login_refused(request, f"change of the password: {refusal.because.value}", user.name)
            said = "The old password is wrong." if refusal.because is Because.WRONG else _SAID[refusal.because]
            return self._account(request, said, _STATUS.get(refusal.because, 403))
        self._trail.add(request, Action.ACCOUNT, user.name, "password changed")
        self._gate.begin(request, user)
        return RedirectResponse("/", 303)


def _user(request: Request) -> User:
    user = visitor_of(request).user
    assert user is not None, "the gate lets nobody else in"  # noqa: S101
    return user


def _inside(page: str) -> str:
    """A page of this site to go to after the login; anything else is the list of studies."""
    try:
        parts = urlsplit(page)
    except ValueError:
        return "/"
    is_ours = page.startswith("/") and not page.startswith("//") and "\\" not in page and page.isprintable()
    return page if is_ours and not parts.netloc and not parts.scheme else "/"
