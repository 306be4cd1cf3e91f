"""Queries to remote nodes: builder, results that can be retrieved, history."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from draw_api.handlers.turns import RequestCost, costs
from draw_api.handlers.web.confirm import ConfirmView
from draw_api.handlers.web.forms import error_of, validate_form
from draw_api.handlers.web.jobs import notice_of
from draw_api.handlers.web.live import stream
from draw_api.handlers.web.pages import View, page, redirect
from draw_api.handlers.web.parameters import ON_A_PAGE, Cursor, SearchText, day_of
from draw_api.handlers.web.visitor import CheckedForm, SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork, UnitOfWork
from draw_api.models.access import Principal
from draw_api.models.failures import Conflict, FieldProblem, Invalid
from draw_api.models.jobs import FINISHED
from draw_api.models.nodes import Node
from draw_api.models.paging import Page
from draw_api.models.permissions import Permission
from draw_api.models.queries import NewQuery, QueryCriteria, QueryMatch
from draw_api.models.queries import Query as Asked
from draw_api.models.retrieves import NewRetrieve
from draw_api.models.texts import SORT_KEY, whole_number, whole_numbers

router = APIRouter(include_in_schema=False)

MayReadQueries = Annotated[Principal, page_requires(Permission.READ_QUERIES)]
MayRunQueries = Annotated[Principal, page_requires(Permission.RUN_QUERIES)]
RunQueriesAct = Annotated[SubmittedForm, form_requires(Permission.RUN_QUERIES)]
RunJobsAct = Annotated[SubmittedForm, form_requires(Permission.RUN_JOBS)]

MAX_NODES: Final = 200
KEYS: Final = {
    # keyword: label, hint, level from which on it means something
    "PatientName": ("Patient name begins with", "Smith, J", "PATIENT"),
    "PatientID": ("Patient ID", "12*", "PATIENT"),
    "PatientBirthDate": ("Born", "1960-11-01", "PATIENT"),
    "StudyDate": ("Study date", "20260101-20260131", "STUDY"),
    "AccessionNumber": ("Accession number", "A26-3*", "STUDY"),
    "ModalitiesInStudy": ("Modalities in study", "CT", "STUDY"),
    "StudyDescription": ("Study description", "*THORAX*", "STUDY"),
    "ReferringPhysicianName": ("Referring physician", "GRANT*", "STUDY"),
    "StudyInstanceUID": ("Study Instance UID", "1.2.840…", "STUDY"),
    "Modality": ("Modality of the series", "RTDOSE", "SERIES"),
    "SeriesDescription": ("Series description", "*3 mm*", "SERIES"),
    "SeriesInstanceUID": ("Series Instance UID", "1.2.840…", "SERIES"),
}
LEVELS: Final = ("PATIENT", "STUDY", "SERIES", "IMAGE")
COLUMNS: Final = {
    "PATIENT": ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    "STUDY": (
        "PatientName", "PatientID", "StudyDate", "ModalitiesInStudy", "StudyDescription",
        "AccessionNumber", "NumberOfStudyRelatedInstances",
    ),
    "SERIES": (
        "Modality", "SeriesNumber", "SeriesDescription", "SeriesInstanceUID",
        "NumberOfSeriesRelatedInstances",
    ),
    "IMAGE": ("InstanceNumber", "SOPInstanceUID", "SOPClassUID"),
}  # fmt: skip
TITLES: Final = {
    "PatientName": "Patient",
    "PatientID": "Patient ID",
    "PatientBirthDate": "Born",
    "PatientSex": "Sex",
    "StudyDate": "Date",
    "ModalitiesInStudy": "Modalities",
    "StudyDescription": "Description",
    "AccessionNumber": "Accession",
    "NumberOfStudyRelatedInstances": "Objects",
    "NumberOfSeriesRelatedInstances": "Objects",
    "SeriesNumber": "Number",
    "SeriesDescription": "Description",
    "SeriesInstanceUID": "Series UID",
    "InstanceNumber": "Number",
    "SOPInstanceUID": "SOP Instance UID",
    "SOPClassUID": "SOP class",
}
DAY: Final = timedelta(days=1)
RETRIEVABLE: Final = ("STUDY", "SERIES")
NAME_SYNTAX: Final = re.compile(r"[\^*?=,\s]")
QueryState = Annotated[str, Query(), SORT_KEY]


@dataclass(frozen=True, slots=True)
class BuilderView(View):
    """The query to build, and the nodes to ask."""

    template: ClassVar[str] = "queries/form.html.jinja"

    nodes: list[Node]
    chosen: frozenset[int]
    level: str
    values: dict[str, str]
    problems: tuple[FieldProblem, ...] = ()
    keys: ClassVar[dict[str, tuple[str, str, str]]] = KEYS
    levels: ClassVar[tuple[str, ...]] = LEVELS

    def error(self, keyword: str) -> str:
        """Return the problem of a key."""
        return error_of(f"keys.{keyword}", self.problems)

    @property
    def general(self) -> str:
        """The problem of the query as a whole."""
        names = {f"keys.{keyword}" for keyword in KEYS}
        return "; ".join(p.message for p in self.problems if p.field not in names)


@dataclass(frozen=True, slots=True)
class QueryListView(View):
    """The queries so far."""

    template: ClassVar[str] = "queries/list.html.jinja"

    found: Page[Asked]
    nodes: list[Node]
    asked: dict[str, str]

    @property
    def filtered(self) -> bool:
        """Whether the history is narrowed."""
        return any(self.asked.values())

    def keys_of(self, query: Asked) -> list[tuple[str, Any]]:
        """Return the keys of a query; a template would take `keys` for the model's method."""
        return list(query.keys.items())


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
    titles: ClassVar[dict[str, str]] = TITLES

    @property
    def sent(self) -> list[tuple[str, Any]]:
        """The keys that narrow the query, as the nodes got them."""
        return [(keyword, value) for keyword, value in self.query.keys.items() if value]

    @property
    def over(self) -> bool:
        """Whether no more matches will come."""
        return self.query.state in FINISHED

    @property
    def columns(self) -> tuple[str, ...]:
        """The attributes that are shown at this level."""
        return COLUMNS[self.query.level]

    @property
    def retrievable(self) -> bool:
        """Whether a match can be retrieved directly."""
        return self.query.level in RETRIEVABLE


@router.get("/queries")
def queries(
    request: Request,
    by: MayReadQueries,
    work: InWork,
    node_id: SearchText = "",
    created_by: SearchText = "",
    date_from: SearchText = "",
    date_to: SearchText = "",
    cursor: Cursor = None,
) -> Response:
    """List the queries, the latest first."""
    first, last = day_of(date_from), day_of(date_to)
    criteria = QueryCriteria(
        node_id=whole_number(node_id),
        created_by=created_by.strip(),
        since=_midnight(first) if first else None,
        until=_end_of(last) if last else None,
    )
    view = QueryListView(
        found=work.queries.queries(criteria, cursor, ON_A_PAGE),
        nodes=work.nodes.nodes(None, MAX_NODES).items,
        asked={
            "node_id": node_id,
            "created_by": created_by,
            "date_from": date_from,
            "date_to": date_to,
        },
    )
    return page(request, by, view)


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
    view = BuilderView(
        nodes=nodes,
        chosen=frozenset(chosen or (node.id for node in nodes[:1])),
        level=given.get("level", "STUDY"),
        values={keyword: given.get(keyword, "")[:1024] for keyword in KEYS},
    )
    return page(request, by, view)


@router.post("/queries/new")
def ask(request: Request, act: RunQueriesAct, work: InWork) -> Response:
    """Query the chosen nodes."""
    values = {keyword: act.form.text(keyword) for keyword in KEYS}
    keys = values | {"PatientName": name_pattern(values["PatientName"])}
    chosen = act.form.texts("node_id")
    asked = {
        "level": act.form.text("level") or "STUDY",
        "keys": {keyword: value for keyword, value in keys.items() if value},
        "node_ids": chosen,
        "max_age_seconds": 0 if act.form.has("anew") else 300,
    }
    try:
        query, new = work.queries.ask(act.by, validate_form(NewQuery, asked))
    except Invalid as error:
        view = BuilderView(
            nodes=queryable_nodes(work),
            chosen=frozenset(whole_numbers(chosen)),
            level=str(asked["level"]),
            values=values,
            problems=error.problems,
        )
        return page(request, act.by, view, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return redirect(f"/queries/{query.id}", "" if new else "query-cached")


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
        title="Forget this query?",
        text="Its results are deleted with it; retrieved objects remain.",
        button="Forget it",
        action=f"{here}/remove",
        back=here,
    )
    return page(request, by, view)


@router.post("/queries/{query_id}/remove")
def remove(act: RunQueriesAct, work: InWork, query_id: UUID) -> Response:
    """Delete a query."""
    work.queries.remove(act.by, query_id)
    return redirect("/queries", "query-removed")


@router.post("/queries/{query_id}/retrieve")
def retrieve(act: RunJobsAct, work: InWork, query_id: UUID) -> Response:
    """Retrieve the selected matches, from the nodes where they were found."""
    work.queries.query(query_id)
    items = _read_selected(act.form)
    if not items:
        raise Conflict("Nothing is selected. Tick what to retrieve.")
    jobs = []
    for node_id, wanted in items.items():
        values = {**options_of(act.form), "node_id": node_id, "items": wanted}
        new = validate_form(NewRetrieve, values)
        jobs.append(work.retrieves.create(act.by, new, new.items))
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


def _read_selected(form: CheckedForm) -> dict[int, list[dict[str, str]]]:
    """Return the ticked matches: node, study and series, separated by blanks."""
    found: dict[int, list[dict[str, str]]] = {}
    for text in form.texts("selected"):
        node, _, uids = text.partition(" ")
        study, _, series = uids.partition(" ")
        for number in whole_numbers([node]):
            item = {"study_instance_uid": study}
            if series:
                item["series_instance_uid"] = series
            found.setdefault(number, []).append(item)
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


def queryable_nodes(work: UnitOfWork) -> list[Node]:
    """Return the nodes that answer queries."""
    nodes = work.nodes.nodes(None, MAX_NODES).items
    return [node for node in nodes if node.active and node.supports_find]
