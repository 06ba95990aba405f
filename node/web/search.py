"""The page that says what became of a study. Numbers come in the body of a form: addresses of pages end up in logs."""

from __future__ import annotations

from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from node.records.audit import Action
from node.records.study_keys import Number
from node.study.find import Search, StudyFinder
from node.web.access import Trail, form_of

#: Studies of an earlier version to look at for one page; the next search looks at others.
_LOOKED_AT_ONCE = 200
_LONGEST_NUMBER = 64


class SearchPage:
    """The handler."""

    def __init__(self, finder: StudyFinder, trail: Trail, render: Callable[..., Response]) -> None:
        self._finder = finder
        self._trail = trail
        self._render = render

    def show(self, request: Request) -> Response:
        """The form. It is not on the list of studies, which refreshes itself while somebody types."""
        return self._page(request, Number.ACCESSION, "", None)

    async def search(self, request: Request) -> Response:
        """What became of the studies with a number."""
        form = await form_of(request)
        return await run_in_threadpool(self._search, request, form)

    def _search(self, request: Request, form: dict[str, str]) -> Response:
        number, kind = form.get("number", "").strip(), form.get("by", "")
        if kind not in set(Number) or not 0 < len(number) <= _LONGEST_NUMBER:
            problem = "Enter an accession number, a Patient ID or a Study Instance UID."
            answer = self._page(request, kind, "", None, problem)
            answer.status_code = 422
            return answer
        found = self._finder.find(Number(kind), number, _LOOKED_AT_ONCE)
        uids = " ".join(study.study_instance_uid for study in found.studies)
        # the number itself is patient data
        self._trail.add(request, Action.SEARCH, uids, f"by {Number(kind).value.replace('_', ' ')}")
        return self._page(request, kind, number, found)

    def _page(self, request: Request, by: str, number: str, found: Search | None, problem: str = "") -> Response:
        return self._render(request, "search.html", by=by, number=number, found=found, problem=problem, refresh_s=None)
