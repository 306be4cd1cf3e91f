"""Queries to remote nodes: builder, results that can be retrieved, history."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import OPENED, error_of, fingerprint, validate_form
from draw_api.handlers.web.jobs import notice_of
from draw_api.handlers.web.languages import _, said
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, address, page, redirect
from draw_api.handlers.web.parameters import (
    ON_A_PAGE,
    Cursor,
    SearchText,
    day_of,
    moment_of,
    picked,
)
from draw_api.handlers.web.query_keys import FIRST_KEYS, KEYS, LEVELS, SPANS
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.jobs import FINISHED
from draw_api.models.nodes import Node
from draw_api.models.paging import Page
from draw_api.models.queries import NewQuery, QueryCriteria, QueryMatch, RetrieveMatches, is_zone
from draw_api.models.queries import Query as Asked
from draw_api.models.saved_queries import SavedQuery
from draw_api.models.texts import SORT_KEY, whole_number, whole_numbers
from draw_api.services.queries import BELOW
from draw_api.services.wider_keys import with_wildcards, without_dates
from draw_shared.access.permissions import Permission, may
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import Conflict, FieldProblem, Invalid, NotFound
from draw_shared.web.turns import RequestCost, costs
from draw_shared.wording import message

router = APIRouter(include_in_schema=False)

MayReadQueries = Annotated[Principal, page_requires(Permission.READ_QUERIES)]
MayRunQueries = Annotated[Principal, page_requires(Permission.RUN_QUERIES)]
RunQueriesAct = Annotated[SubmittedForm, form_requires(Permission.RUN_QUERIES)]
RunJobsAct = Annotated[SubmittedForm, form_requires(Permission.RUN_JOBS)]

LATEST: Final = 8
"""Queries below the form."""
MAX_SAVED_SHOWN: Final = 20
"""Saved queries below the form; their own page has all."""
OTHER_KEY: Final = "key."
"""Begins the name of a field with a key that the form does not offer by itself."""
FILTERED_BY: Final = ("node_id", "created_by", "since", "until", "date_from", "date_to", "cursor")
DAY: Final = timedelta(days=1)
NAME_SYNTAX: Final = re.compile(r"[\^*?=,\s]")
QueryState = Annotated[str, Query(), SORT_KEY]


@dataclass(frozen=True, slots=True)
class SavedQueriesView(View):
    """A page of the saved queries."""

    template: ClassVar[str] = "queries/saved.html.jinja"
    levels: ClassVar[dict[str, str]] = LEVELS
    spans: ClassVar[dict[str, str]] = SPANS

    nodes: list[Node]
    saved: Page[SavedQuery]

    @property
    def names(self) -> dict[int, str]:
        """The names of the nodes by their ids."""
        return {node.id: node.name for node in self.nodes}

    def keys_of(self, query: Asked | SavedQuery) -> list[tuple[str, Any]]:
        """Return the keys of a query; a template would take `keys` for the model's method."""
        return sent_keys(query.keys)

    def edit_address(self, saved: SavedQuery) -> str:
        """Return the address of the form filled in with a saved query."""
        given = [("saved", saved.name), ("level", saved.level), ("study_dates", saved.study_dates)]
        if saved.shared:
            given.append(("shared", "on"))
        if saved.limit:
            given.append(("limit", str(saved.limit)))
        if saved.zone:
            given.append(("zone", saved.zone))
        given.append((OPENED, fingerprint(SavedQuery, saved)))
        return _form_address(given, saved.node_ids, saved.keys)


@dataclass(frozen=True, slots=True)
class BuilderView(SavedQueriesView):
    """The query to build, and the nodes to ask."""

    template: ClassVar[str] = "queries/form.html.jinja"

    chosen: frozenset[int]
    level: str
    values: dict[str, str]
    study_dates: str
    latest: list[Asked]
    problems: tuple[FieldProblem, ...] = ()
    name: str = ""
    """The name of the saved query with which the form is filled in."""
    shared: bool = False
    """Whether the saved query is offered to everybody."""
    anew: bool = False
    others: Mapping[str, str] = field(default_factory=dict)
    """Keys that the form has only because the query had them."""
    limit: str = ""
    zone: str = ""
    """The time zone with which the query was saved; empty: the browser's."""
    opened: str = ""
    """What the form was filled in with, when that was a saved query of the user's own."""
    keys: ClassVar[dict[str, tuple[str, str, str]]] = KEYS
    first: ClassVar[tuple[str, ...]] = FIRST_KEYS

    @property
    def further(self) -> list[str]:
        """The keys that are shown on demand."""
        return [keyword for keyword in KEYS if keyword not in FIRST_KEYS]

    @property
    def open(self) -> bool:
        """Whether a key that is shown on demand has a value or a problem."""
        shown = any(self.values[keyword] or self.error(keyword) for keyword in self.further)
        return shown or bool(self.others or self.limit or self.limit_problem)

    def error(self, keyword: str) -> str:
        """Return the problem of a key."""
        return said(error_of(f"keys.{keyword}", self.problems))

    @property
    def limit_problem(self) -> str:
        """What is wrong with the most results of each node."""
        return said(error_of("limit", self.problems))

    @property
    def name_problem(self) -> str:
        """What is wrong with the name under which the query is saved."""
        return said(error_of("name", self.problems))

    @property
    def general(self) -> str:
        """The problem of the query as a whole."""
        names = {"name", "limit", *(f"keys.{keyword}" for keyword in (*KEYS, *self.others))}
        return "; ".join(said(p.message) for p in self.problems if p.field not in names)


@dataclass(frozen=True, slots=True)
class QueryListView(View):
    """The queries so far."""

    template: ClassVar[str] = "queries/list.html.jinja"

    found: Page[Asked]
    nodes: list[Node]
    asked: dict[str, str]
    levels: ClassVar[dict[str, str]] = LEVELS

    @property
    def filtered(self) -> bool:
        """Whether the history is narrowed."""
        return any(self.asked.values())

    def keys_of(self, query: Asked) -> list[tuple[str, Any]]:
        """Return the keys of a query; a template would take `keys` for the model's method."""
        return sent_keys(query.keys)


@dataclass(frozen=True, slots=True)
class WiderQuery:
    """A query that finds more, offered when nothing was found."""

    words: str
    keys: dict[str, Any]


@dataclass(frozen=True, slots=True)
class QueryView(View):
    """One query with what it found."""

    template: ClassVar[str] = "queries/detail.html.jinja"
    fragment: ClassVar[str] = "queries/_results.html.jinja"

    query: Asked
    matches: Page[QueryMatch]
    search: str
    sort: str
    node_id: int | None
    levels: ClassVar[dict[str, str]] = LEVELS
    below: ClassVar[dict[str, str]] = BELOW

    @property
    def sent(self) -> list[tuple[str, Any]]:
        """The keys that narrow the query, as the nodes got them."""
        return sent_keys(self.query.keys)

    @property
    def over(self) -> bool:
        """Whether no more matches will come."""
        return self.query.state in FINISHED

    @property
    def subject(self) -> dict[str, str]:
        """Whose study or series is open, as text; empty for a query that opens none."""
        opened = self.query.opened_from
        return (
            {name: _text_of(value) for name, value in opened.attributes.items()} if opened else {}
        )

    @property
    def several_nodes(self) -> bool:
        """Whether more than one node was asked."""
        return len(self.query.nodes) > 1

    @property
    def wider(self) -> list[WiderQuery]:
        """What the form could ask instead."""
        keys = self.query.keys
        if not set(keys) <= set(KEYS):
            return []
        offers = [
            (_("Look for these words anywhere"), with_wildcards(keys)),
            (_("Look on any date"), without_dates(keys)),
        ]
        return [WiderQuery(words, sent) for words, sent in offers if sent]

    @property
    def edit_address(self) -> str:
        """Return the address of the form filled in with this query."""
        return _form_address([("level", self.query.level)], self.query.node_ids, dict(self.sent))

    def narrowing(self, keys: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """Return the keys that narrow a query."""
        return sent_keys(keys)

    def sorted_by(self, keyword: str) -> str:
        """Return the address of this page in the order of an attribute, or in the reverse."""
        sort = f"-{keyword}" if self.sort == keyword else keyword
        here = f"/queries/{self.query.id}"
        return address(here, search=self.search, node_id=self.node_id, sort=sort)


@router.get("/queries")
def queries(request: Request, by: MayReadQueries, work: InWork) -> Response:
    """Show the form of a query with the latest ones below, or their list to those who only read."""
    if any(name in request.query_params for name in FILTERED_BY):
        return redirect(f"/queries/history?{request.url.query}")
    if not may(by, Permission.RUN_QUERIES):
        return page(request, by, _history(work, QueryCriteria(), {}, None))
    nodes = queryable_nodes(work)
    return page(request, by, _form(work, by, nodes, _usual(nodes)))


@router.get("/queries/history")
def history(  # noqa: PLR0917 - query parameters, given by name
    request: Request,
    by: MayReadQueries,
    work: InWork,
    node_id: SearchText = "",
    created_by: SearchText = "",
    since: SearchText = "",
    until: SearchText = "",
    date_from: SearchText = "",
    date_to: SearchText = "",
    cursor: Cursor = None,
) -> Response:
    """List the queries, the latest first."""
    first, last = day_of(date_from), day_of(date_to)
    criteria = QueryCriteria(
        node_id=whole_number(node_id),
        created_by=created_by.strip(),
        since=moment_of(since) or (_midnight(first) if first else None),
        until=moment_of(until) or (_end_of(last) if last else None),
    )
    asked = {
        "node_id": node_id,
        "created_by": created_by,
        "since": picked(criteria.since),
        "until": picked(criteria.until),
    }
    return page(request, by, _history(work, criteria, asked, cursor))


def _history(
    work: UnitOfWork, criteria: QueryCriteria, asked: Mapping[str, str], cursor: str | None
) -> QueryListView:
    return QueryListView(
        found=work.queries.queries(criteria, cursor, ON_A_PAGE),
        nodes=work.nodes.offered(),
        asked=dict.fromkeys(("node_id", "created_by", "since", "until"), "") | dict(asked),
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _end_of(day: date) -> datetime | None:
    """Return the end of a day; None for the last day that a calendar has."""
    return None if day == date.max else _midnight(day) + DAY


@router.get("/queries/new")
def builder(request: Request, by: MayRunQueries, work: InWork) -> Response:
    """Show the form of a query; the address may fill it in."""
    given = request.query_params
    nodes = queryable_nodes(work)
    chosen = whole_numbers(given.getlist("node_id"))
    view = _form(
        work,
        by,
        nodes,
        frozenset(chosen) or _usual(nodes),
        level=given.get("level", "STUDY"),
        values={keyword: given.get(keyword, "")[:1024] for keyword in KEYS},
        study_dates=given.get("study_dates", ""),
        name=given.get("saved", "")[:64],
    )
    others = {
        name.removeprefix(OTHER_KEY)[:64]: text[:1024]
        for name, text in given.items()
        if name.startswith(OTHER_KEY)
    }
    view = replace(
        view,
        shared="shared" in given,
        others=others,
        limit=given.get("limit", "")[:18],
        zone=given.get("zone", "")[:64],
        opened=given.get(OPENED, "")[:64],
    )
    return page(request, by, view)


def _form(
    work: UnitOfWork,
    by: Principal,
    nodes: list[Node],
    chosen: frozenset[int],
    *,
    level: str = "STUDY",
    values: dict[str, str] | None = None,
    study_dates: str = "",
    problems: tuple[FieldProblem, ...] = (),
    name: str = "",
) -> BuilderView:
    saved = (
        work.saved_queries.saved(by, None, MAX_SAVED_SHOWN)
        if may(by, Permission.RUN_QUERIES)
        else Page[SavedQuery](items=[], next_cursor=None)
    )
    return BuilderView(
        nodes=nodes,
        saved=saved,
        chosen=chosen,
        level=level,
        values=values or dict.fromkeys(KEYS, ""),
        study_dates=study_dates,
        latest=work.queries.queries(QueryCriteria(), None, LATEST).items,
        problems=problems,
        name=name,
    )


@router.post("/queries/new")
def ask(request: Request, act: RunQueriesAct, work: InWork) -> Response:
    """Query the chosen nodes."""
    try:
        query, new = work.queries.ask(act.by, validate_form(NewQuery, asked_by(act.form)))
    except Invalid as error:
        return form_again(request, act, work, error.problems)
    return redirect(f"/queries/{query.id}", "" if new else "query-cached")


def asked_by(form: CheckedForm) -> dict[str, Any]:
    """Return the query in the form."""
    values = {keyword: form.text(keyword) for keyword in KEYS}
    keys = values | {"PatientName": name_pattern(values["PatientName"])}
    span, zone = form.text("study_dates"), form.text("kept_zone") or form.text("zone")
    if span:
        keys.pop("StudyDate")
    keys = {keyword: value for keyword, value in keys.items() if value}
    return {
        "level": form.text("level") or "STUDY",
        # An empty one asks for the attribute.
        "keys": keys | form.beginning(OTHER_KEY),
        "limit": form.text("limit") or 0,
        "node_ids": form.texts("node_id"),
        "study_dates": span,
        # The browser's zone; one that this machine does not know is left out.
        "zone": zone if is_zone(zone) else "",
        "max_age_seconds": 0 if form.has("anew") else 300,
    }


def form_again(
    request: Request,
    act: SubmittedForm,
    work: UnitOfWork,
    problems: tuple[FieldProblem, ...],
    *,
    opened: str = "",
) -> Response:
    """Return the form as it was filled in, with what is wrong with it."""
    view = _form(
        work,
        act.by,
        queryable_nodes(work),
        frozenset(whole_numbers(act.form.texts("node_id"))),
        level=act.form.text("level") or "STUDY",
        values={keyword: act.form.text(keyword) for keyword in KEYS},
        study_dates=act.form.text("study_dates"),
        problems=problems,
        name=act.form.text("saved_name"),
    )
    view = replace(
        view,
        shared=act.form.has("saved_shared"),
        anew=act.form.has("anew"),
        others=act.form.beginning(OTHER_KEY),
        limit=act.form.text("limit"),
        zone=act.form.text("kept_zone"),
        opened=opened or act.form.text(OPENED),
    )
    return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)


def name_pattern(typed: str) -> str:
    """Return a name as people type it as a pattern: nodes compare names exactly (PS3.4 C.2.2.2.1).

    A comma, `^`, a wildcard or a second word says more, and stays.
    """
    return f"{typed}*" if typed and not NAME_SYNTAX.search(typed) else typed


@router.get("/queries/{query_id}")
def query(
    request: Request,
    by: MayReadQueries,
    work: InWork,
    query_id: UUID,
    search: SearchText = "",
    sort: QueryState = "",
    node_id: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    cursor: Cursor = None,
) -> Response:
    """Show the matches of a query."""
    view = _look(work, query_id, search=search, sort=sort, node_id=node_id, cursor=cursor)
    return page(request, by, view)


@router.get("/live/queries/{query_id}", dependencies=[costs(RequestCost.STREAMS)])
def live(
    request: Request,
    _: MayReadQueries,
    query_id: UUID,
    search: SearchText = "",
    sort: QueryState = "",
    node_id: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    cursor: Cursor = None,
) -> StreamingResponse:
    """Stream the matches of a query."""

    def look(work: UnitOfWork) -> QueryView:
        return _look(work, query_id, search=search, sort=sort, node_id=node_id, cursor=cursor)

    return stream(request, look, f"/queries/{query_id}", Permission.READ_QUERIES)


@router.post("/queries/{query_id}/again")
def again(act: RunQueriesAct, work: InWork, query_id: UUID) -> Response:
    """Send the same query again."""
    return redirect(f"/queries/{work.queries.ask_again(act.by, query_id).id}")


@router.post("/queries/{query_id}/cancel")
def cancel(act: RunQueriesAct, work: InWork, query_id: UUID) -> Response:
    """Cancel a query."""
    work.queries.cancel(act.by, query_id)
    return redirect(f"/queries/{query_id}", "job-cancelled")


@router.get("/queries/{query_id}/remove")
def ask_remove(request: Request, by: MayRunQueries, work: InWork, query_id: UUID) -> Response:
    """Ask for confirmation before a query is deleted."""
    work.queries.query(query_id)
    here = f"/queries/{query_id}"
    view = ConfirmView(
        title=_("Delete this query?"),
        text=_("Its results are deleted with it; retrieved images remain."),
        button=_("Delete"),
        action=f"{here}/remove",
        back=here,
    )
    return page(request, by, view)


@router.post("/queries/{query_id}/remove")
def remove(act: RunQueriesAct, work: InWork, query_id: UUID) -> Response:
    """Delete a query."""
    work.queries.remove(act.by, query_id)
    return redirect("/queries", "query-removed")


@router.post("/queries/{query_id}/open")
def open_match(act: RunQueriesAct, work: InWork, query_id: UUID) -> Response:
    """Ask the node for what is below a match: studies of a patient, series, images."""
    chosen = whole_numbers([act.form.text("open")])
    if not chosen:
        raise NotFound(message("There is no such match."))
    below, _new = work.queries.open_match(act.by, query_id, chosen[0])
    return redirect(f"/queries/{below.id}")


@router.post("/queries/{query_id}/retrieve")
def retrieve(act: RunJobsAct, work: InWork, query_id: UUID) -> Response:
    """Retrieve the selected matches, from the nodes where they were found."""
    work.queries.query(query_id)
    chosen = whole_numbers(act.form.texts("selected"))
    if not chosen:
        raise Conflict(message("Nothing is selected. Tick what to retrieve."))
    wanted = validate_form(RetrieveMatches, options_of(act.form) | {"result_ids": chosen})
    jobs = work.queries.retrieve(act.by, query_id, wanted)
    if len(jobs) > 1:
        return redirect("/jobs", "job-created")
    return redirect(f"/jobs/{jobs[0].retrieve.id}", notice_of(jobs[0]))


def options_of(form: CheckedForm) -> dict[str, Any]:
    """Return the options of a retrieve that the form contains."""
    found: dict[str, Any] = {
        name: form.text(name) for name in ("method", "priority", "destination") if form.text(name)
    }
    if form.text("not_before"):
        found["not_before"] = f"{form.text('not_before').removesuffix('Z')}Z"
    if form.has("force"):
        found["force"] = True
    return found


def _look(
    work: UnitOfWork,
    query_id: UUID,
    *,
    search: str,
    sort: str,
    node_id: int | None,
    cursor: str | None,
) -> QueryView:
    matches = work.queries.matches(
        query_id, node_id=node_id, search=search, sort=sort, cursor=cursor, limit=ON_A_PAGE
    )
    return QueryView(work.queries.query(query_id), matches, search, sort, node_id)


def sent_keys(keys: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the keys that narrow a query; the others only ask for an attribute."""
    return [(keyword, value) for keyword, value in keys.items() if value]


def _form_address(
    given: list[tuple[str, str]], node_ids: list[int], keys: Mapping[str, Any]
) -> str:
    """Return the address of the form filled in so."""
    nodes = [("node_id", str(node_id)) for node_id in node_ids]
    texts = [
        (keyword if keyword in KEYS else f"{OTHER_KEY}{keyword}", _text_of(value))
        for keyword, value in keys.items()
    ]
    return f"/queries/new?{urlencode([*given, *nodes, *texts])}"


def _text_of(value: object) -> str:
    return "\\".join(map(str, value)) if isinstance(value, list) else str(value)


def queryable_nodes(work: UnitOfWork) -> list[Node]:
    """Return the nodes that answer queries."""
    nodes = work.nodes.offered()
    return [node for node in nodes if node.active and node.supports_find]


def _usual(nodes: list[Node]) -> frozenset[int]:
    """Return the node that is asked unless others are chosen: the first that was added."""
    return frozenset(sorted(node.id for node in nodes)[:1])
