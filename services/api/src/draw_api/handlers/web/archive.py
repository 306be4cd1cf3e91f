"""Studies and patients of the archive, and one study with its series."""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, get_args
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request, Response

from draw_api.handlers.web.deliveries import STATES, newest_of
from draw_api.handlers.web.forms import validate_form
from draw_api.handlers.web.languages import N_
from draw_api.handlers.web.pages import View, address, page, redirect
from draw_api.handlers.web.parameters import (
    ON_A_PAGE,
    Cursor,
    RowId,
    SearchText,
    UidInPath,
    day_of,
)
from draw_api.handlers.web.visitor import SubmittedForm, form_requires, page_requires
from draw_api.handlers.work import InWork
from draw_api.models.archive import (
    ASCENDING,
    CountedPage,
    Direction,
    ListOrder,
    Patient,
    PatientCriteria,
    PatientSort,
    Series,
    Study,
    StudyCriteria,
    StudyMonth,
    StudySort,
)
from draw_api.models.conflicts import ConflictCriteria, ObjectConflict
from draw_api.models.deliveries import RoutedDelivery
from draw_api.models.jobs import NewSend
from draw_api.models.nodes import Node
from draw_api.models.paging import Page
from draw_api.models.queries import is_zone
from draw_api.models.texts import MODALITY
from draw_api.models.transactions import Transaction, TransactionCriteria
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal

router = APIRouter(include_in_schema=False)

MayReadArchive = Annotated[Principal, page_requires(Permission.READ_ARCHIVE)]
RunJobsAct = Annotated[SubmittedForm, form_requires(Permission.RUN_JOBS)]

SERIES_ON_A_PAGE: Final = 200
MAX_MONTHS: Final = 240
"""Months of a patient's time line; the studies of earlier ones are in the list."""
MAX_CONFLICTS: Final = 20
SPANS: Final = (("0", N_("Today")), ("6", N_("7 days")), ("29", N_("30 days")))
MODALITIES: Final = ("CT", "MR", "PT", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "CR", "DX", "US")
STUDY_SORTS: Final[tuple[str, ...]] = get_args(StudySort)
PATIENT_SORTS: Final[tuple[str, ...]] = get_args(PatientSort)
DIRECTIONS: Final[tuple[str, ...]] = get_args(Direction)
ALWAYS_IN_VIEW: Final = frozenset({"search", "days", "modality", "zone"})
EXPORTS: Final = "/api/v1"

Before = Annotated[int, Query(ge=0, le=2**53)]
"""How many rows the pages before this one have."""


def _asked_of_studies(  # noqa: PLR0917 - query parameters, given by name
    search: SearchText = "",
    days: SearchText = "",
    patient_name: SearchText = "",
    patient_id: SearchText = "",
    accession_number: SearchText = "",
    referring_physician: SearchText = "",
    modality: Annotated[str, Query(), MODALITY] = "",
    date_from: SearchText = "",
    date_to: SearchText = "",
    study_instance_uid: SearchText = "",
    held: SearchText = "",
    conflicting: SearchText = "",
    zone: SearchText = "",
) -> dict[str, str]:
    return dict(locals())


def _asked_of_patients(
    search: SearchText = "",
    patient_id: SearchText = "",
    name: SearchText = "",
    ambiguous: SearchText = "",
) -> dict[str, str]:
    return dict(locals())


AskedOfStudies = Annotated[dict[str, str], Depends(_asked_of_studies)]
AskedOfPatients = Annotated[dict[str, str], Depends(_asked_of_patients)]


@dataclass(frozen=True, slots=True)
class Total:
    """How much there is of what a list shows."""

    number: int
    size_bytes: int | None
    further: bool
    """Whether there is more, or may be."""


def total_of(matches: CountedPage[Any], before: int) -> Total:
    """Return how much matches; `before` is how many rows the pages before have."""
    if not matches.after_cursor:
        return Total(matches.number, matches.size_bytes, matches.further)
    return Total(before + matches.number, None, matches.further)


@dataclass(frozen=True, slots=True)
class StudyTableView(View):
    """A table of studies that can be selected and sorted."""

    found: Page[Study]
    order: ListOrder
    total: Total


@dataclass(frozen=True, slots=True)
class StudyListView(StudyTableView):
    """A page of the studies that match."""

    template: ClassVar[str] = "studies/list.html.jinja"
    fragment: ClassVar[str] = "studies/_list.html.jinja"

    asked: dict[str, str]
    modalities: tuple[str, ...] = MODALITIES
    spans: tuple[tuple[str, str], ...] = SPANS

    @property
    def detailed(self) -> bool:
        """Whether a filter is in use that is not always in view."""
        return any(value for name, value in self.asked.items() if name not in ALWAYS_IN_VIEW)

    @property
    def filtered(self) -> bool:
        """Whether anything was searched for."""
        return any(value for name, value in self.asked.items() if name != "zone")

    @property
    def export(self) -> str:
        """The address of the same studies as CSV, in the same order."""
        said = _export_of(self.asked) | _said_of(self.order)
        return address(f"{EXPORTS}/studies/export.csv", **said)


@dataclass(frozen=True, slots=True)
class PatientListView(View):
    """A page of the patients that match."""

    template: ClassVar[str] = "patients/list.html.jinja"
    fragment: ClassVar[str] = "patients/_list.html.jinja"

    found: Page[Patient]
    order: ListOrder
    total: Total
    asked: dict[str, str]

    @property
    def filtered(self) -> bool:
        """Whether anything was searched for."""
        return any(self.asked.values())

    @property
    def export(self) -> str:
        """The address of the same patients as CSV, in the same order."""
        return address(f"{EXPORTS}/patients/export.csv", **(self.asked | _said_of(self.order)))


@dataclass(frozen=True, slots=True)
class PatientView(StudyTableView):
    """One patient, by identity, with the studies."""

    template: ClassVar[str] = "patients/detail.html.jinja"
    fragment: ClassVar[str] = "studies/_list.html.jinja"

    patient: Patient
    months: Sequence[StudyMonth]
    """When the patient was examined, the latest month first."""
    month: date | None
    """The first day of the month whose studies are shown; None: all are."""
    filtered: ClassVar[bool] = True

    @property
    def years(self) -> dict[int, list[StudyMonth]]:
        """The months by their years; empty when they are not worth a time line."""
        found: dict[int, list[StudyMonth]] = {}
        for one in self.months if len(self.months) > 1 or self.month else ():
            found.setdefault(one.month.year, []).append(one)
        return found


@dataclass(frozen=True, slots=True)
class StudyView(View):
    """One study with its series."""

    template: ClassVar[str] = "studies/detail.html.jinja"

    study: Study
    series: Page[Series]
    """Some of them, as their modality numbered them."""
    conflicts: Page[ObjectConflict]
    nodes: list[Node]
    hold: Transaction | None
    """The line of the log that says who holds the study, and why."""
    gone: Page[RoutedDelivery]
    """The newest of its deliveries."""
    delivery_states: ClassVar[Mapping[str, tuple[str, str]]] = STATES


@router.get("/studies")
def studies(
    request: Request,
    by: MayReadArchive,
    work: InWork,
    asked: AskedOfStudies,
    sort: SearchText = "",
    order: SearchText = "",
    before: Before = 0,
    cursor: Cursor = None,
) -> Response:
    """List studies, last received first unless another order is wished."""
    wanted = {name: value.strip() for name, value in asked.items()}
    days = int(wanted["days"]) if wanted["days"] in dict(SPANS) else None
    criteria = StudyCriteria(
        patient_id=wanted["patient_id"],
        patient_name=wanted["patient_name"],
        study_instance_uid=wanted["study_instance_uid"],
        accession_number=wanted["accession_number"],
        date_from=day_of(wanted["date_from"]) if days is None else _days_ago(days, wanted["zone"]),
        date_to=day_of(wanted["date_to"]),
        modality=wanted["modality"],
        search=wanted["search"],
        referring_physician=wanted["referring_physician"],
        held=wanted["held"] == "true" or None,
        conflicting=wanted["conflicting"] == "true",
    )
    wish = _order(sort, order, STUDY_SORTS)
    found = work.archive.studies(criteria, cursor, ON_A_PAGE, wish)
    view = StudyListView(found.page, wish, total_of(found, before), asked)
    return page(request, by, view)


@router.get("/patients")
def patients(
    request: Request,
    by: MayReadArchive,
    work: InWork,
    asked: AskedOfPatients,
    sort: SearchText = "",
    order: SearchText = "",
    before: Before = 0,
    cursor: Cursor = None,
) -> Response:
    """List patients, last added first unless another order is wished."""
    criteria = PatientCriteria(
        asked["patient_id"].strip(),
        asked["name"].strip(),
        asked["ambiguous"] == "true" or None,
        asked["search"].strip(),
    )
    wish = _order(sort, order, PATIENT_SORTS)
    found = work.archive.patients(criteria, cursor, ON_A_PAGE, wish)
    view = PatientListView(found.page, wish, total_of(found, before), asked)
    return page(request, by, view)


@router.get("/patients/{patient_key}")
def patient(  # noqa: PLR0917 - query parameters, given by name
    request: Request,
    by: MayReadArchive,
    work: InWork,
    patient_key: RowId,
    month: SearchText = "",
    sort: SearchText = "study_date",
    order: SearchText = "",
    before: Before = 0,
    cursor: Cursor = None,
) -> Response:
    """Show one patient with the studies, the latest first unless another order is wished."""
    patient = work.archive.patient(patient_key)
    wish = _order(sort, order, STUDY_SORTS)
    first = day_of(f"{month}-01") if month else None
    criteria = StudyCriteria(
        patient_key=patient_key, date_from=first, date_to=first and _last_day(first)
    )
    found = work.archive.studies(criteria, cursor, ON_A_PAGE, wish)
    months = work.archive.months(patient_key, MAX_MONTHS)
    view = PatientView(found.page, wish, total_of(found, before), patient, months, first)
    return page(request, by, view)


def _last_day(first: date) -> date:
    """Return the last day of the month that begins so."""
    return first.replace(day=monthrange(first.year, first.month)[1])


def _order(sort: str, order: str, sorts: tuple[str, ...]) -> ListOrder:
    """Return the order that an address wishes; an unknown one is ignored."""
    named = sort if sort in sorts else "received"
    usual = "asc" if named in ASCENDING else "desc"
    return ListOrder(named, (order if order in DIRECTIONS else usual) == "desc")


def _said_of(order: ListOrder) -> dict[str, str]:
    """Return an order as an address says it; the usual one is not said."""
    if order == ListOrder():
        return {}
    return {"sort": order.sort, "order": "desc" if order.descending else "asc"}


def _days_ago(days: int, zone: str) -> date:
    """Return the day so long before today in the browser's zone; an unknown one is UTC."""
    today = datetime.now(ZoneInfo(zone if is_zone(zone) else "UTC")).date()
    return today - timedelta(days=days)


def _export_of(asked: dict[str, str]) -> dict[str, str]:
    """Return the filters of the page as REST has them."""
    said = {name: value for name, value in asked.items() if name not in {"days", "zone"}}
    if asked["days"] in dict(SPANS):
        said["date_from"] = _days_ago(int(asked["days"]), asked["zone"].strip()).isoformat()
    return said


@router.get("/studies/{study_instance_uid}")
def study(
    request: Request,
    by: MayReadArchive,
    work: InWork,
    study_instance_uid: UidInPath,
    cursor: Cursor = None,
) -> Response:
    """Show one study with its series, as many as fit on a page."""
    found = work.archive.study(study_instance_uid)
    held = TransactionCriteria(uid=study_instance_uid, action="study.hold")
    view = StudyView(
        study=found,
        series=work.archive.numbered_series(study_instance_uid, cursor, SERIES_ON_A_PAGE),
        hold=next(iter(work.transactions.transactions(held, None, 1).items), None)
        if found.held
        else None,
        conflicts=work.conflicts.conflicts(
            ConflictCriteria(study_instance_uid), None, MAX_CONFLICTS
        ),
        nodes=[node for node in work.nodes.offered() if node.active],
        gone=newest_of(work, study_instance_uid),
    )
    return page(request, by, view)


@router.post("/studies/{study_instance_uid}/send")
def send(act: RunJobsAct, work: InWork, study_instance_uid: UidInPath) -> Response:
    """Send a study, or one series of it, to a remote node."""
    wanted = {
        "kind": "send",
        "node_id": act.form.text("node_id"),
        "study_instance_uid": study_instance_uid,
        "series_instance_uid": act.form.text("series_instance_uid"),
    }
    job = work.jobs.create(act.by, validate_form(NewSend, wanted))
    return redirect(f"/jobs/{job.id}", "job-created")
