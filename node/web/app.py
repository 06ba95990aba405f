"""The pages: a list of the latest runs, one page per run, health and metrics. Read-only, except for the button behind a
signed link, which acknowledges an alert, and one's own account."""

from __future__ import annotations

import logging
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import jinja2
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.language.catalogue import Language, say
from node.language.phrase import Phrase, Value, phrase
from node.records.alert_links import ACKNOWLEDGE_PATH
from node.records.audit import Action
from node.records.runs import DeliveryState, RunRecord, RunRecords, RunState
from node.records.users import Role
from node.settings.tree import WebSettings
from node.web.access import AUTO, LOGIN_PATH, Trail, visitor_of
from node.web.alerts import AlertsView, kind_of, state_of, why_of
from node.web.body_limit import BodyLimit
from node.web.destinations import DestinationsView
from node.web.metrics import metrics_text
from node.web.oidc import BEGIN_PATH, CALLBACK_PATH
from node.web.people import People
from node.web.result import ResultFiles
from node.web.search import SearchPage

log = logging.getLogger(__name__)

_TEMPLATES = Path(__file__).parent / "templates"
_RUNS_SHOWN = 200
_REFRESH_S = 15
#: States in which a run still changes.
_OPEN_STATES = (RunState.QUEUED, RunState.RUNNING)

#: No scripts but the node's own, no external content, no framing, no caching.
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
#: RFC 6797.
_ONLY_TLS = (b"strict-transport-security", b"max-age=31536000")


def build_app(
    records: RunRecords,
    web: WebSettings,
    people: People,
    *collectors: Collector,
    destinations: DestinationsView | None = None,
    alerts: AlertsView | None = None,
    language: Language = Language.EN,
) -> Starlette:
    """The application for the records of runs, destinations and alerts; ``collectors`` add metrics.

    Args:
        people: who may open them.
        language: of the pages that surgeons see (alert and error pages). The other pages are for administrators, in English.
    """
    pages = _Pages(records, collectors, destinations or DestinationsView(), alerts or AlertsView(), language, people.trail)
    gate, login = people.gate, people.pages(pages.render)
    search = SearchPage(people.finder, people.trail, pages.render)
    return Starlette(
        routes=[
            Route("/", gate.only(pages.runs)),
            Route("/run", gate.only(pages.run)),
            Route("/run/result.json", gate.only(pages.result_json)),
            Route("/run/summary.png", gate.only(pages.summary_picture)),
            Route("/search", gate.only(search.show)),
            Route("/search", gate.only(search.search), methods=["POST"]),
            Route("/destinations", gate.only(pages.destinations, Role.ADMINISTRATOR)),
            Route("/account", gate.only(login.account)),
            Route("/account", gate.only(login.change_password), methods=["POST"]),
            Route("/logout", gate.only(login.leave), methods=["POST"]),
            Route(LOGIN_PATH, gate.login_form(login.show)),
            Route(LOGIN_PATH, gate.login_form(login.send), methods=["POST"]),
            Route(BEGIN_PATH, gate.login_form(login.to_provider)),
            Route(CALLBACK_PATH, gate.login_form(login.from_provider)),
            Route(ACKNOWLEDGE_PATH, gate.open(pages.alert)),
            Route(ACKNOWLEDGE_PATH, gate.open(pages.acknowledge), methods=["POST"]),
            Route("/health", gate.open(pages.health)),
            Route("/metrics", gate.metrics(pages.metrics)),
            Route("/style.css", gate.open(pages.style)),
            Route("/copy.js", gate.open(pages.copy_script)),
        ],
        middleware=[
            Middleware(_SecurityHeaders, uses_tls=bool(web.tls_certificate_file)),
            Middleware(TrustedHostMiddleware, allowed_hosts=_host_names(web), www_redirect=False),
            Middleware(
                SessionMiddleware,
                secret_key=people.cookie_secret,
                session_cookie=people.cookie_name,
                max_age=people.cookie_lasts_s,
                same_site="lax",  # not strict: the provider of the hospital sends people back
                https_only=people.uses_https,
            ),
            Middleware(ExceptionMiddleware, handlers={HTTPException: pages.problem}),
            Middleware(BodyLimit),
        ],
        exception_handlers={
            HTTPException: pages.problem,
            SQLAlchemyError: pages.database_problem,
            Exception: pages.problem,
        },
    )


def _host_names(web: WebSettings) -> list[str]:
    """Allowed host names.

    A page on the loopback address is protected against DNS rebinding. A page on the intranet may be reached under any name
    of that network.
    """
    public = [urlsplit(web.public_url).hostname or web.host]
    return ["localhost", "127.0.0.1", "[::1]", "::1", web.host, *public] if is_loopback(web.host) else ["*"]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _SecurityHeaders:
    """Adds security headers to every response."""

    def __init__(self, app: ASGIApp, *, uses_tls: bool) -> None:
        self._app = app
        self._headers = (*_HEADERS, _ONLY_TLS) if uses_tls else _HEADERS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class _Pages:
    """The handlers; plain functions, so that a slow database blocks a thread and not the server."""

    def __init__(
        self,
        records: RunRecords,
        collectors: tuple[Collector, ...],
        destinations: DestinationsView,
        alerts: AlertsView,
        language: Language,
        trail: Trail,
    ) -> None:
        self._records = records
        self._collectors = collectors
        self._destinations = destinations
        self._alerts = alerts
        self._language = language
        self._trail = trail
        self._style = (_TEMPLATES / "style.css").read_bytes()
        self._copy_script = (_TEMPLATES / "copy.js").read_bytes()
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["clock"] = _clock
        self._templates.filters["words"] = _words
        self._templates.filters |= {"kind": kind_of, "why": why_of, "state": state_of}

    def runs(self, request: Request) -> Response:
        """The latest runs, newest first."""
        self._trail.add(request, Action.LIST, detail="studies")
        runs = self._records.runs(_RUNS_SHOWN)
        counts = self._records.count_by_state()
        n_conflicts = len({run.study_instance_uid for run in runs if run.is_in_conflict})
        return self.render(
            request,
            "runs.html",
            runs=runs,
            counts=counts,
            shown=_RUNS_SHOWN,
            refresh_s=_REFRESH_S,
            n_conflicts=n_conflicts,
        )

    def run(self, request: Request) -> Response:
        """State and result of one run."""
        run = self._run_of(request)
        self._trail.add(request, Action.VIEW, run.study_instance_uid)
        files = ResultFiles(run.folder)
        result, problem = files.result()
        changes = run.state in _OPEN_STATES or any(d.state is DeliveryState.PENDING for d in run.deliveries)
        return self.render(
            request,
            "run.html",
            run=run,
            result=result,
            problem=problem,
            alerts=self._alerts.of_study(run.study_instance_uid),
            has_picture=files.picture_path() is not None,
            refresh_s=_REFRESH_S if changes else None,
        )

    def destinations(self, request: Request) -> Response:
        """SOP classes that each destination accepts or refuses."""
        rows, given_up = self._destinations.rows(), self._destinations.given_up()
        return self.render(request, "destinations.html", destinations=rows, given_up=given_up, refresh_s=_REFRESH_S)

    def result_json(self, request: Request) -> Response:
        """The result for other programs."""
        run = self._run_of(request)
        self._trail.add(request, Action.EXPORT, run.study_instance_uid, "result.json")
        return _file(ResultFiles(run.folder).json_path(), "application/json")

    def summary_picture(self, request: Request) -> Response:
        """The summary page as an image."""
        run = self._run_of(request)
        self._trail.add(request, Action.VIEW, run.study_instance_uid, "summary page")
        return _file(ResultFiles(run.folder).picture_path(), "image/png")

    def alert(self, request: Request) -> Response:
        """The alert of a signed link, with a button that acknowledges it."""
        return self._for_surgeons(request, "alert.html", alert=self._alerts.of_link(request), refresh_s=None)

    async def acknowledge(self, request: Request) -> Response:
        """Acknowledge the alert of the button."""
        shown = await self._alerts.acknowledge(request)
        await run_in_threadpool(self._trail.add, request, Action.ACKNOWLEDGE, shown.alert_id, "signed link of an alert")
        return self._for_surgeons(request, "alert.html", alert=shown, refresh_s=None)

    def health(self, _request: Request) -> Response:
        """For a supervisor: 200 if the database answers, else 503."""
        try:
            self._records.count_by_state()
        except SQLAlchemyError as error:
            log.warning("health: the database does not answer: %s", type(error).__name__)
            return JSONResponse({"status": "error", "database": "unreachable"}, status_code=503)
        return JSONResponse({"status": "ok", "database": "reachable"})

    def metrics(self, _request: Request) -> Response:
        """For Prometheus."""
        return Response(metrics_text(self._records, *self._collectors), headers={"content-type": CONTENT_TYPE_LATEST})

    def style(self, _request: Request) -> Response:
        """The style sheet of all pages."""
        return Response(self._style, media_type="text/css")

    def copy_script(self, _request: Request) -> Response:
        """The script of the button that copies a text."""
        return Response(self._copy_script, media_type="text/javascript")

    def problem(self, request: Request, error: Exception) -> Response:
        """A page for errors: not found, not allowed, or internal."""
        if isinstance(error, HTTPException):
            status, text = error.status_code, error.detail
        else:
            status, text = 500, phrase("This page cannot be shown. See the log of the node.")
        page = self._for_surgeons(request, "problem.html", status=status, text=text, refresh_s=None)
        page.status_code = status
        return page

    def database_problem(self, request: Request, error: Exception) -> Response:
        """The database is locked or unavailable: show this, and retry with the next refresh."""
        log.warning("the database does not answer: %s", type(error).__name__)
        text = phrase("The database does not answer.")
        page = self._for_surgeons(request, "problem.html", status=503, text=text, refresh_s=_REFRESH_S)
        page.status_code = 503
        return page

    def _run_of(self, request: Request) -> RunRecord:
        # by query, not by path: a run id may contain any character
        run_id = request.query_params.get("id", "")
        run = self._records.run(run_id) if run_id else None
        if run is None:
            raise HTTPException(404, phrase("Run not found."))
        return run

    def _for_surgeons(self, request: Request, template: str, **values: object) -> Response:
        return self.render(request, template, self._language, **values)

    def render(self, request: Request, template: str, language: Language = Language.EN, **values: object) -> Response:
        """A page; ``refresh_s`` is among the values, ``None`` for one that does not change."""

        def said(text: str) -> str:
            """A text in the language of the page; English if it is not a phrase."""
            return say(text, language)

        def said_phrase(template: str, **places: Value) -> str:
            """Called ``phrase`` in templates, so that the test of the catalogues finds their sentences."""
            return said(Phrase(template, places))

        query = urlencode([*((k, v) for k, v in request.query_params.multi_items() if k != AUTO), (AUTO, "1")])
        values |= {"language": language, "said": said, "phrase": said_phrase, "visitor": visitor_of(request)}
        values["refresh_url"] = f"{request.url.path}?{query}"
        zone = "UTC" + datetime.now().astimezone().isoformat()[-len("+00:00") :]
        return HTMLResponse(self._templates.get_template(template).render(values, time_zone=zone))


def _file(path: Path | None, media_type: str) -> Response:
    if path is None:
        raise HTTPException(404, phrase("This run has no such file."))
    return Response(path.read_bytes(), media_type=media_type)


def _clock(epoch_s: float) -> str:
    """Local time of the node; the footer of the page states the time zone."""
    return datetime.fromtimestamp(epoch_s).strftime("%Y-%m-%d %H:%M:%S")


def _words(state: str) -> str:
    """A stable code as words."""
    return str(state).replace("_", " ")
