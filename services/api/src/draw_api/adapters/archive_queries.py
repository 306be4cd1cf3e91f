"""Reads patients, studies, series and instances from PostgreSQL.

Lists use keyset pagination: every page costs the same, however far down. A list with criteria reads
the next `WINDOW` rows of its order first. What is common is found there. What is not is rare enough
that all of it can be looked up by its indexes, and counted.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    DateTime,
    Executable,
    Label,
    RowMapping,
    Select,
    Text,
    and_,
    any_,
    cast,
    func,
    literal,
    literal_column,
    not_,
    select,
    text,
    tuple_,
)
from sqlmodel import Session, col
from typing_extensions import override

from draw_api.adapters.archive_criteria import (
    N,
    P,
    S,
    W,
    has_name,
    patient_conditions,
    study_conditions,
)
from draw_api.models.archive import (
    CountedPage,
    Instance,
    ListOrder,
    Patient,
    PatientCriteria,
    Series,
    StoredObject,
    Study,
    StudyCriteria,
    StudyMonth,
    StudyPatient,
)
from draw_api.models.paging import Page, decode_cursor, encode_cursor, foreign_cursor, page_of
from draw_api.models.texts import whole_number
from draw_api.ports.archive import ArchiveRepository
from draw_shared.contracts.instance import instance_event_id
from draw_shared.db import study_order, tables

R: Final = tables.SeriesRow
I: Final = tables.InstanceRow  # noqa: E741 - P, S, R, I as in the levels of PS3.4 C.6

WINDOW: Final = 2000
"""How many rows of a list are read before its criteria are looked up in indexes."""
MAX_COUNTED: Final = 50_000
"""How many rows of a list are looked up in indexes, counted and sorted."""
KEPT_MOMENT: Final = re.compile(r"([0-9-]{10} [0-9:]{8})(\.[0-9]{0,6})?", re.ASCII)
KEPT_ROWS: Final = 4
"""Rows before a cursor that it names, in case its own is deleted meanwhile."""
KEPT_OF_KEY: Final = 24
"""Letters of a sort key in a cursor, in case all of these are deleted."""
MAX_PERSONS: Final = 10
NOBODY: Final = {"name": "", "birth_date": None, "sex": ""}

PATIENT_COLUMNS: Final[tuple[Any, ...]] = (
    P.id, P.patient_id, P.issuer_of_patient_id, P.name, P.birth_date, P.sex, P.ambiguous,
    P.study_count, P.series_count, P.instance_count, P.size_bytes, P.updated_at,
)  # fmt: skip
STUDY_COLUMNS: Final[tuple[Any, ...]] = (
    S.id, S.study_instance_uid, S.study_date, S.study_time, S.accession_number, S.study_id,
    S.description, S.referring_physician, S.modalities, S.series_count, S.instance_count,
    S.size_bytes, S.held, S.last_received_at, S.stable_at, S.patient_pk,
    P.patient_id, P.issuer_of_patient_id, P.name, P.birth_date, P.sex, P.ambiguous,
)  # fmt: skip
SERIES_COLUMNS: Final[tuple[Any, ...]] = (
    R.id, R.series_instance_uid, S.study_instance_uid, R.modality, R.series_number,
    R.description, R.body_part_examined, R.performed_date, R.performed_time,
    R.instance_count, R.size_bytes, R.last_received_at, R.stable_at,
)  # fmt: skip
INSTANCE_COLUMNS: Final[tuple[Any, ...]] = (
    I.id, I.sop_instance_uid, R.series_instance_uid, S.study_instance_uid, I.sop_class_uid,
    I.transfer_syntax_uid, I.instance_number, I.size_bytes, I.content_sha256, I.received_at,
    I.association_id, I.calling_ae, I.peer_address, I.header_damage,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Order:
    """Sort keys of a list before the identity column, and what they are in SQL."""

    keys: tuple[Any, ...] = ()
    kinds: tuple[Any, ...] = ()
    of_patient: bool = False
    """Whether studies need their patient for it."""


# As in the index: with parameters in it, PostgreSQL would take it for another expression.
STUDIED_AT: Final[ColumnElement[Any]] = literal_column(study_order.STUDIED_AT)
STUDY_ORDERS: Final = {
    "received": _Order(),
    "study_date": _Order((STUDIED_AT,), (DateTime(),)),
    "description": _Order((col(S.description_search),), (Text(),)),
    "size": _Order((col(S.size_bytes),), (BigInteger(),)),
    "patient": _Order((col(P.name_search), col(P.id)), (Text(), BigInteger()), of_patient=True),
}
PATIENT_ORDERS: Final = {
    "received": _Order(),
    "patient": _Order((col(P.name_search),), (Text(),)),
    "size": _Order((col(P.size_bytes),), (BigInteger(),)),
}
# A column of another type, so that "none" can be a number after all others.
SERIES_NUMBER: Final = func.coalesce(cast(R.series_number, BigInteger), literal(2**31))
MONTHS: Final = text(
    """
    SELECT date_trunc('month', study_date)::date AS month, count(*) AS studies
    FROM studies WHERE patient_pk = :patient_key AND study_date IS NOT NULL
    GROUP BY 1 ORDER BY 1 DESC LIMIT :most
    """
)
TOTALS: Final = text("SELECT number, size_bytes FROM index_totals WHERE kind = 'studies'")


@dataclass(frozen=True, slots=True)
class _Listing:
    """One list: its rows, its order, and what its criteria need."""

    of: type[tables.PatientRow | tables.StudyRow]
    order: _Order
    descending: bool
    near: list[ColumnElement[bool]]
    """The conditions as they are asked of one row after the other."""
    everywhere: list[ColumnElement[bool]]
    """The same as they are looked up in indexes."""
    joined: frozenset[Any] = frozenset()
    """Tables that the conditions need beside the list's own."""
    exact: bool = False
    """Whether a condition names few rows by an index, so that nothing is read before it."""

    def columns(self) -> list[Any]:
        """Return the columns by which rows are ordered and counted."""
        keys = [key.label(f"key_{n}") for n, key in enumerate(self.order.keys)]
        return [*keys, col(self.of.id), col(self.of.size_bytes).label("size_bytes")]

    def select(self, joined: frozenset[Any]) -> Select[Any]:
        """Return the list's rows, without conditions."""
        query = select(*self.columns()).select_from(self.of)
        if P in joined and self.of is not P:
            query = query.join(P, col(P.id) == col(S.patient_pk))
        if W in joined:
            query = query.join(W, col(W.study_pk) == col(S.id))
        return query

    def holds(self, key: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return the conditions for one row, which PostgreSQL then looks up by its identity."""
        rows = select(literal(1)).select_from(self.of)
        if P in self.joined and self.of is not P:
            rows = rows.join(P, col(P.id) == col(S.patient_pk))
        if W in self.joined:
            rows = rows.join(W, col(W.study_pk) == col(S.id))
        # With an offset PostgreSQL does not turn the question round.
        return rows.where(col(self.of.id) == key, *self.near).offset(0).exists()

    def needed(self) -> frozenset[Any]:
        """Return the tables that order and conditions need."""
        return self.joined | (frozenset({P}) if self.order.of_patient else frozenset())

    def sorted(
        self, query: Select[Any], after: tuple[Any, ...] | None, found: CTE | None = None
    ) -> Select[Any]:
        """Return the rows after these keys, in the list's order."""
        keys = (
            [*self.order.keys, col(self.of.id)]
            if found is None
            else [*(found.c[f"key_{n}"] for n in range(len(self.order.keys))), found.c.id]
        )
        if after is not None:
            kinds = (*self.order.kinds, BigInteger())
            values = [
                cast(literal(str(value), Text()), kind)
                for value, kind in zip(after, kinds, strict=True)
            ]
            # The keys of the first table alone are what an index knows.
            pairs = [(keys, values)]
            if self.order.of_patient:
                pairs.append((keys[:2], values[:2]))
            for number, (these, those) in enumerate(pairs):
                left, right = tuple_(*these), tuple_(*those)
                if number:
                    query = query.where(left <= right if self.descending else left >= right)
                else:
                    query = query.where(left < right if self.descending else left > right)
        return query.order_by(*(key.desc() if self.descending else key.asc() for key in keys))


class PostgresArchiveRepository(ArchiveRepository):
    """The index, read within one transaction."""

    def __init__(self, session: Session) -> None:
        self._connection = session.connection()

    @override
    def patients(
        self, criteria: PatientCriteria, order: ListOrder, cursor: str | None, limit: int
    ) -> CountedPage[Patient]:
        listing = _Listing(
            P,
            PATIENT_ORDERS.get(order.sort, PATIENT_ORDERS["received"]),
            order.descending,
            patient_conditions(criteria, near=True),
            patient_conditions(criteria, near=False),
        )
        query = _patients(criteria.name)
        return self._matches(listing, query, cursor, limit, Patient.model_validate)

    @override
    def patient(self, patient_key: int) -> Patient | None:
        row = self._row(_patients().where(col(P.id) == patient_key))
        return None if row is None else Patient.model_validate(row)

    @override
    def months(self, patient_key: int, most: int) -> Sequence[StudyMonth]:
        rows = self._connection.execute(MONTHS, {"patient_key": patient_key, "most": most})
        return [StudyMonth(row.month, row.studies) for row in rows]

    @override
    def studies(
        self, criteria: StudyCriteria, order: ListOrder, cursor: str | None, limit: int
    ) -> CountedPage[Study]:
        near, joined = study_conditions(criteria, near=True)
        everywhere, _ = study_conditions(criteria, near=False)
        exact = (criteria.patient_key, criteria.study_instance_uid, criteria.accession_number)
        listing = _Listing(
            S,
            STUDY_ORDERS.get(order.sort, STUDY_ORDERS["received"]),
            order.descending,
            near,
            everywhere,
            joined,
            exact=any(exact),
        )
        query = _studies(criteria.patient_name)
        found = self._matches(listing, query, cursor, limit, _study)
        if near:
            return found
        sums = self._connection.execute(TOTALS).first()
        number, size_bytes = (sums.number, sums.size_bytes) if sums else (0, 0)
        return CountedPage(found.page, int(number), int(size_bytes))

    def _matches(
        self,
        listing: _Listing,
        query: Select[Any],
        cursor: str | None,
        limit: int,
        make: Callable[[RowMapping], Any],
    ) -> CountedPage[Any]:
        """Return a page of a list; `query` selects its rows in full."""
        after = None if cursor is None else self._after(listing, cursor)
        found = self._found(listing, after, limit)
        first, *_ = [*listing.order.keys, None]
        if first is not None:
            query = query.add_columns(cast(first, Text).label("sort_key"))
        ids: list[int] = found["ids"]
        few = cast(ids, ARRAY(BigInteger))
        query = query.where(col(listing.of.id) == any_(few))
        if listing.of is S:
            # Of an array that it does not know PostgreSQL expects few elements.
            patients = select(col(S.patient_pk)).where(col(S.id) == any_(few)).correlate(None)
            query = query.where(col(P.id) == any_(func.array(patients.scalar_subquery())))
        rows = {row["id"]: row for row in self._rows(query)}
        shown = [rows[one] for one in ids if one in rows]
        cursors = (_place(shown[max(0, n - KEPT_ROWS) : n + 1]) for n in range(len(shown)))
        page = page_of(list(zip(cursors, map(make, shown), strict=True)), limit)
        return CountedPage(
            page,
            found["number"],
            found["size_bytes"],
            further=bool(found["further"]),
            after_cursor=bool(found["after_cursor"]),
        )

    def _found(
        self, listing: _Listing, after: tuple[Any, ...] | None, limit: int
    ) -> dict[str, Any]:
        """Return the identities of a page's rows and one more, and what is known of the number."""
        if not listing.near:
            ids = self._ids(listing, listing.select(listing.needed()), after, limit)
            return {
                "ids": ids, "number": len(ids[:limit]), "size_bytes": None,
                "further": len(ids) > limit, "after_cursor": after is not None,
            }  # fmt: skip
        if not listing.exact:
            of_order = frozenset({P}) if listing.order.of_patient else frozenset[Any]()
            walk = listing.sorted(listing.select(of_order), after).limit(WINDOW).cte("walk")
            near = select(walk).where(listing.holds(walk.c.id))
            seen = self._listed(listing, near, None, limit, walk)
            whole = seen["walked"] < WINDOW
            if whole or len(seen["ids"]) > limit:
                return {**seen, "further": not whole, "after_cursor": after is not None}
        everywhere = listing.select(listing.needed()).where(*listing.everywhere)
        found = self._listed(listing, everywhere.limit(MAX_COUNTED + 1), after, limit)
        if found["number"] <= MAX_COUNTED:
            return {**found, "further": False, "after_cursor": False}
        # Too many to be sorted; so they are not far in any order.
        query = listing.select(listing.needed()).where(*listing.near)
        return {
            "ids": self._ids(listing, query, after, limit), "number": MAX_COUNTED,
            "size_bytes": None, "further": True, "after_cursor": False,
        }  # fmt: skip

    def _ids(
        self, listing: _Listing, query: Select[Any], after: tuple[Any, ...] | None, limit: int
    ) -> list[int]:
        # Keys stay there: what has no date has a key that is no date of Python.
        query = listing.sorted(query, after).limit(limit + 1)
        return [row["id"] for row in self._rows(query.with_only_columns(col(listing.of.id)))]

    def _listed(
        self,
        listing: _Listing,
        query: Select[Any],
        after: tuple[Any, ...] | None,
        limit: int,
        walk: CTE | None = None,
    ) -> dict[str, Any]:
        # In one statement with the order, PostgreSQL would rather read everything in that order
        # until it has a page.
        found = query.cte("found").prefix_with("MATERIALIZED")
        page = listing.sorted(select(found.c.id), after, found).limit(limit + 1)
        walked = select(func.count()).select_from(found if walk is None else walk)
        size_bytes = select(cast(func.coalesce(func.sum(found.c.size_bytes), 0), BigInteger))
        sums = select(
            func.array(page.scalar_subquery()).label("ids"),
            select(func.count()).select_from(found).scalar_subquery().label("number"),
            size_bytes.scalar_subquery().label("size_bytes"),
            walked.scalar_subquery().label("walked"),
        )
        return dict(self._rows(sums)[0])

    def _after(self, listing: _Listing, cursor: str) -> tuple[Any, ...]:
        """Return the keys of the last row of a page that is still there.

        What follows it are the rows of the next page. If the last rows of the page are all gone,
        return what the cursor kept of the keys.
        """
        if not listing.order.keys:
            return decode_cursor(cursor, (int,))
        said, *rows = decode_cursor(cursor, (str, *[int] * (KEPT_ROWS + 1)))
        columns = [cast(column, Text) for column in listing.order.keys]
        query = listing.select(listing.needed()).with_only_columns(*columns, col(listing.of.id))
        kept = query.where(col(listing.of.id) == any_(cast(rows, ARRAY(BigInteger))))
        there = {found[-1]: found for found in self._connection.execute(kept)}
        for key in rows:
            if key in there:
                return tuple(there[int(key)])
        if not all(_is_of(kind, said) for kind in listing.order.kinds[:1]):
            raise foreign_cursor()
        return (said, *[rows[0]] * len(columns))

    @override
    def study(self, study_instance_uid: str) -> Study | None:
        query = _studies().where(col(S.study_instance_uid) == study_instance_uid)
        row = self._row(query)
        return None if row is None else _study(row)

    @override
    def series(self, study_instance_uid: str, cursor: str | None, limit: int) -> Page[Series]:
        query = _series().where(col(S.study_instance_uid) == study_instance_uid)
        query = query.order_by(col(R.id)).limit(limit + 1)
        if cursor is not None:
            query = query.where(col(R.id) > _key(cursor))
        return page_of(
            [(_cursor(row), Series.model_validate(row)) for row in self._rows(query)], limit
        )

    @override
    def numbered_series(
        self, study_instance_uid: str, cursor: str | None, limit: int
    ) -> Page[Series]:
        place = None if cursor is None else decode_cursor(cursor, (int, int))
        found = self._series_after(study_instance_uid, place, limit + 1)
        return page_of(
            [
                (encode_cursor(row["number"], row["id"]), Series.model_validate(row))
                for row in found
            ],
            limit,
        )

    @override
    def series_around(self, series_instance_uid: str, beside: int) -> Sequence[Series]:
        query = _numbered().where(col(R.series_instance_uid) == series_instance_uid)
        own = self._row(query)
        if own is None:
            return []
        place = (own["number"], own["id"])
        before = self._series_after(own["study_instance_uid"], place, beside, backwards=True)
        after = self._series_after(own["study_instance_uid"], place, beside)
        return [Series.model_validate(row) for row in (*reversed(before), own, *after)]

    def _series_after(
        self,
        study_instance_uid: str,
        place: tuple[int | str, ...] | None,
        most: int,
        *,
        backwards: bool = False,
    ) -> Sequence[RowMapping]:
        """Return the next series of a study by number, or the ones before."""
        keys = (SERIES_NUMBER, col(R.id))
        query = _numbered().where(col(S.study_instance_uid) == study_instance_uid)
        if place is not None:
            here = tuple_(*place)
            query = query.where(tuple_(*keys) < here if backwards else tuple_(*keys) > here)
        order = [key.desc() for key in keys] if backwards else keys
        return self._rows(query.order_by(*order).limit(most))

    @override
    def one_series(self, series_instance_uid: str) -> Series | None:
        query = _series().where(col(R.series_instance_uid) == series_instance_uid)
        row = self._row(query)
        return None if row is None else Series.model_validate(row)

    @override
    def instances(self, series_instance_uid: str, cursor: str | None, limit: int) -> Page[Instance]:
        query = (
            _instances()
            .where(col(R.series_instance_uid) == series_instance_uid)
            .order_by(col(I.id))
            .limit(limit + 1)
        )
        if cursor is not None:
            query = query.where(col(I.id) > _key(cursor))
        return page_of([(_cursor(row), _instance(row)) for row in self._rows(query)], limit)

    @override
    def instance(self, sop_instance_uid: str) -> Instance | None:
        row = self._row(_instances().where(col(I.sop_instance_uid) == sop_instance_uid))
        return None if row is None else _instance(row)

    @override
    def stored_object(self, sop_instance_uid: str) -> StoredObject | None:
        query = (
            select(col(S.study_instance_uid), col(I.path), col(I.header_damage))
            .join_from(I, R, col(R.id) == col(I.series_pk))
            .join(S, col(S.id) == col(R.study_pk))
            .where(col(I.sop_instance_uid) == sop_instance_uid)
        )
        row = self._row(query)
        if row is None:
            return None
        return StoredObject(sop_instance_uid, **row)

    def _rows(self, query: Executable) -> Sequence[RowMapping]:
        return self._connection.execute(query).mappings().all()

    def _row(self, query: Executable) -> RowMapping | None:
        return self._connection.execute(query).mappings().first()


def _persons(of_whom: ColumnElement[bool], name: str) -> Label[Any]:
    """Return the persons whom objects name: first those with this name, then the row's."""
    order: list[Any] = [not_(has_name(N, name))] if name else []
    order += [col(N.name_search) != col(P.name_search), col(N.name_search), col(N.birth_date)]
    person = func.jsonb_build_object(
        "name", func.min(N.name), "birth_date", N.birth_date, "sex", func.max(N.sex)
    )
    found = select(person).where(of_whom).group_by(col(N.name_search), col(N.birth_date))
    found = found.order_by(*order).limit(MAX_PERSONS).correlate(P, S)
    return func.array(found.scalar_subquery()).label("persons")


def _patients(name: str = "") -> Select[Any]:
    named = col(N.name_search) != ""
    of_the_patient = and_(col(P.ambiguous), col(N.patient_pk) == col(P.id), named)
    return select(*PATIENT_COLUMNS, _persons(of_the_patient, name))


def _studies(patient_name: str = "") -> Select[Any]:
    persons = _persons(col(N.study_pk) == col(S.id), patient_name)
    return select(*STUDY_COLUMNS, persons).join_from(S, P, col(P.id) == col(S.patient_pk))


def _series() -> Select[Any]:
    return select(*SERIES_COLUMNS).join_from(R, S, col(S.id) == col(R.study_pk))


def _numbered() -> Select[Any]:
    return _series().add_columns(SERIES_NUMBER.label("number"))


def _instances() -> Select[Any]:
    return (
        select(*INSTANCE_COLUMNS)
        .join_from(I, R, col(R.id) == col(I.series_pk))
        .join(S, col(S.id) == col(R.study_pk))
    )


def _study(row: RowMapping) -> Study:
    shown = (row["persons"] or [NOBODY])[0] if row["ambiguous"] else {}
    named = [person for person in row["persons"] if person["name"]]
    patient = StudyPatient.model_validate(
        {**row, **shown, "persons": named, "id": row["patient_pk"]}
    )
    return Study.model_validate({**row, "patient": patient})


def _instance(row: RowMapping) -> Instance:
    digest = row["content_sha256"].hex()
    event_id = instance_event_id(row["sop_instance_uid"], digest)
    return Instance.model_validate({**row, "content_sha256": digest, "event_id": event_id})


def _cursor(row: RowMapping) -> str:
    return encode_cursor(row["id"])


def _place(rows: Sequence[RowMapping]) -> str:
    """Return the cursor of the last of these rows in a list that has an order of its own."""
    row = rows[-1]
    if "sort_key" not in row:
        return _cursor(row)
    kept = [one["id"] for one in reversed(rows)] + [0] * KEPT_ROWS
    return encode_cursor(row["sort_key"][:KEPT_OF_KEY], *kept[: KEPT_ROWS + 1])


def _is_of(kind: Any, said: int | str) -> bool:  # noqa: ANN401 - a type of SQL
    """Return whether PostgreSQL can read a key that a cursor kept."""
    if isinstance(kind, BigInteger):
        return whole_number(str(said)) is not None
    if isinstance(kind, DateTime) and said != "-infinity":
        found = KEPT_MOMENT.fullmatch(str(said))
        try:
            return found is not None and bool(datetime.fromisoformat(found[1]))
        except ValueError:
            return False
    return True


def _key(cursor: str) -> int:
    (key,) = decode_cursor(cursor, (int,))
    return int(key)
