"""Statistics of received images: a chart and tables by day, sender, modality and SOP class."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Query, Request, Response

from draw_api.handlers.web.field_names import field_name
from draw_api.handlers.web.languages import said
from draw_api.handlers.web.pages import View, address, page
from draw_api.handlers.web.parameters import SearchText, day_of
from draw_api.handlers.web.visitor import page_requires
from draw_api.handlers.work import InWork
from draw_api.models.statistics import Statistics, StatisticsCriteria
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import FieldProblem, Invalid
from draw_shared.contracts.moments import DATE_WORDS
from draw_shared.web.turns import RequestCost, costs

router = APIRouter(include_in_schema=False)

MayReadStatus = Annotated[Principal, page_requires(Permission.READ_STATUS)]

SPANS: Final = (7, 30, 90)
USUAL_SPAN: Final = 30


@dataclass(frozen=True, slots=True)
class StatisticsView(View):
    """What was received in a span of days."""

    template: ClassVar[str] = "statistics/detail.html.jinja"
    fragment: ClassVar[str] = "statistics/_found.html.jinja"
    spans: ClassVar[tuple[int, ...]] = SPANS

    found: Statistics | None
    problem: str
    days: int
    """The preset in force; 0 for a span of one's own."""
    first_day: date
    last_day: date
    sender: str
    modality: str
    modalities: list[str]

    @property
    def data(self) -> str:
        """The address of the same statistics as JSON."""
        return self._rest("/api/v1/statistics")

    @property
    def csv(self) -> str:
        """The address of the same statistics as CSV."""
        return self._rest("/api/v1/statistics/export.csv")

    def of_days(self, days: int) -> str:
        """Return the address of this page for a preset."""
        return address("/statistics", days=days, sender=self.sender, modality=self.modality)

    def of(self, *, sender: str | None = None, modality: str | None = None) -> str:
        """Return the address of this page for another sender or modality."""
        span = (
            {"days": self.days}
            if self.days
            else {"first": self.first_day.isoformat(), "last": self.last_day.isoformat()}
        )
        return address(
            "/statistics",
            **span,
            sender=self.sender if sender is None else sender,
            modality=self.modality if modality is None else modality,
        )

    def _rest(self, path: str) -> str:
        return address(
            path,
            first_day=self.first_day.isoformat(),
            last_day=self.last_day.isoformat(),
            calling_ae=self.sender,
            modality=self.modality,
        )


@router.get("/statistics", dependencies=[costs(RequestCost.SUMS)])
def statistics(
    request: Request,
    by: MayReadStatus,
    work: InWork,
    days: Annotated[str, Query(max_length=4)] = "",
    first: SearchText = "",
    last: SearchText = "",
    sender: SearchText = "",
    modality: SearchText = "",
) -> Response:
    """Show what was received."""
    today = datetime.now(UTC).date()
    chosen = next((span for span in SPANS if str(span) == days), USUAL_SPAN)
    own_span = bool(first.strip() or last.strip()) and not days
    last_day = (day_of(last.strip()) if own_span else None) or today
    first_day = (day_of(first.strip()) if own_span else None) or _days_before(last_day, chosen)
    classes = work.statistics.sop_classes_of(modality) if modality else None
    criteria = StatisticsCriteria(first_day, last_day, sender.strip(), classes)
    days_typed = {"first_day": first.strip(), "last_day": last.strip()} if own_span else {}
    problems: Sequence[FieldProblem] = [
        FieldProblem(name, DATE_WORDS)
        for name, typed in days_typed.items()
        if typed and day_of(typed) is None
    ]
    found = None
    try:
        found = None if problems else work.statistics.statistics(criteria)
    except Invalid as error:
        problems = error.problems
    view = StatisticsView(
        found=found,
        problem="; ".join(f"{field_name(p.field)}: {said(p.message)}" for p in problems),
        days=0 if own_span else chosen,
        first_day=first_day,
        last_day=last_day,
        sender=sender.strip(),
        modality=modality,
        modalities=work.statistics.modalities(),
    )
    return page(request, by, view)


def _days_before(last: date, days: int) -> date:
    """Return the first of so many days, or the first day that a calendar has."""
    return last - timedelta(days=min(days - 1, (last - date.min).days))
