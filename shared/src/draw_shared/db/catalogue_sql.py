"""Queries of the index as SQL: conditions, columns, joins.

Every value is a parameter; only names of our own tables and attributes are put into the text.
Values are selected as the text that answers contain, so that nothing is parsed between the
database and the network.

Where one patient identity covers several people (`patients.ambiguous`), a study is matched and
answered with the person `n` that its own objects name, a patient with the person that matches.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from typing_extensions import override

from draw_shared.db.study_order import STUDIED_AT
from draw_shared.dicom.encoding.intervals import Dates, Moments, Times
from draw_shared.dicom.encoding.search_text import like_literal, search_text
from draw_shared.dicom.query.keys import IndexedAttribute, Level
from draw_shared.dicom.query.matching import (
    Condition,
    Items,
    Name,
    Names,
    Nothing,
    Numbers,
    Pattern,
    Patterns,
    Texts,
    Wild,
)
from draw_shared.dicom.query.query import FindQuery, Selection, several_valued, time_of

ALIASES: Final = {Level.PATIENT: "p", Level.STUDY: "s", Level.SERIES: "e", Level.IMAGE: "i"}
_TABLES: Final = {
    Level.PATIENT: "patients p",
    Level.STUDY: "studies s",
    Level.SERIES: "series e",
    Level.IMAGE: "instances i",
}
_JOINS: Final = {
    Level.PATIENT: "JOIN patients p ON p.id = s.patient_pk",
    Level.STUDY: "JOIN studies s ON s.id = e.study_pk",
    Level.SERIES: "JOIN series e ON e.id = i.series_pk",
}
_PERSONAL: Final = frozenset({"name", "birth_date", "sex"})
"""Columns that `stated_persons` has for each person."""
_INDEXED_OF_PERSONS: Final = frozenset({"name", "birth_date"})
_AMONG_PERSONS: Final = ALIASES | {Level.PATIENT: "n"}
_ARRAYS: Final = frozenset({"modalities", "sop_classes"})
_COUNTS: Final = frozenset({"study_count", "series_count", "instance_count"})
_TEXT_DATE: Final = r"^\d{4}[.]?\d{2}[.]?\d{2}$"
_TEXT_TIME: Final = r"^\d{2}(:?\d{2}(:?\d{2}([.]\d{1,6})?)?)?$"
_TEXT_NUMBER: Final = r"^\s*[+-]?(\d+[.]?\d*|[.]\d+)([eE][+-]?\d{1,3})?\s*$"
_TIME_DIGITS: Final = 12


class MatchPage(NamedTuple):
    """A part of all matches in their order."""

    limit: int
    offset: int

    @property
    def words(self) -> str:
        """The page in SQL."""
        return f"LIMIT {self.limit:d} OFFSET {self.offset:d}"


_ORDERS: Final = {
    Level.PATIENT: "p.id",
    Level.STUDY: f"{STUDIED_AT} DESC, s.id DESC",
    Level.SERIES: "e.study_pk, e.series_number NULLS LAST, e.id",
    Level.IMAGE: "i.series_pk, i.instance_number NULLS LAST, i.id",
}
"""Newest studies first, as people look for them; series and images as they are numbered."""


class SelectBuilder:
    """A SELECT under construction; a parameter is added when its placeholder is written."""

    def __init__(self, aliases: Mapping[Level, str] = ALIASES) -> None:
        self._aliases = aliases
        self.conditions: list[str] = []
        self.parameters: list[Any] = []
        self.levels: set[Level] = set()

    def require(self, attribute: IndexedAttribute, condition: Condition) -> None:
        """Add a condition."""
        self.levels.add(attribute.level)
        self.conditions.append(self._condition(attribute, condition))

    def text(self, level: Level, columns: Iterable[str], order: str = "", join: str = "") -> bytes:
        """Return the statement at a level."""
        words = ["SELECT", ", ".join(columns) or "NULL", "FROM", _TABLES[level]]
        top = min(self.levels | {level})
        words += [_JOINS[above] for above in reversed(Level) if top <= above < level]
        words.append(join)
        if self.conditions:
            words += ["WHERE", " AND ".join(self.conditions)]
        return " ".join([*words, order]).encode()

    def _condition(self, attribute: IndexedAttribute, condition: Condition) -> str:
        if isinstance(condition, Nothing):
            return "false"
        if isinstance(condition, Items):
            return self._items(attribute, condition)
        if isinstance(condition, Names):
            return self._names(attribute, condition)
        if attribute.column in _ARRAYS:
            return self._in_array(attribute, condition)
        if several_valued(attribute):
            value = self._value(attribute, condition, "v")
            return f"EXISTS (SELECT FROM {_parts(stored_expression(attribute))} WHERE {value})"
        expression = stored_expression(attribute, self._aliases[attribute.level])
        return self._value(attribute, condition, expression)

    def _value(self, attribute: IndexedAttribute, condition: Condition, expression: str) -> str:
        """Return the condition for one value."""
        match condition:
            case Texts():
                return self._texts(condition, expression)
            case Patterns():
                return self._patterns(attribute, condition, expression)
            case Numbers():
                return self._numbers(attribute, condition, expression)
            case Dates():
                return self._dates(attribute, condition, expression)
            case Times():
                return self._times(attribute, condition, expression)
            case Moments():
                return self._moments(attribute, condition)
            case Names() | Items() | Nothing():
                raise TypeError("no condition on one value")

    def _texts(self, condition: Texts, expression: str) -> str:
        if len(condition.values) == 1:
            return f"{expression} = {self._parameter(condition.values[0])}"
        return f"{expression} = ANY({self._parameter(list(condition.values))})"

    def _patterns(self, attribute: IndexedAttribute, condition: Patterns, expression: str) -> str:
        words = []
        if attribute.search and all(_is_ascii(one) for one in condition.patterns):
            # The comparable text has the trigram index; its matches are then compared exactly.
            column = f"{ALIASES[attribute.level]}.{attribute.search}"
            rough = [_loosen(one) for one in condition.patterns]
            words.append(_any(f"{column} LIKE {self._parameter(one)}" for one in rough))
        exact = map(like, condition.patterns)
        words.append(_any(f"{expression} LIKE {self._parameter(one)}" for one in exact))
        return " AND ".join(words)

    def _numbers(self, attribute: IndexedAttribute, condition: Numbers, expression: str) -> str:
        values = self._parameter([str(value) for value in condition.values])
        if not attribute.column:
            expression = (
                f"CASE WHEN {expression} ~ '{_TEXT_NUMBER}' THEN ({expression})::numeric END"
            )
        return f"{expression} = ANY({values}::numeric[])"

    def _dates(self, attribute: IndexedAttribute, condition: Dates, expression: str) -> str:
        if attribute.column:
            return self._between(expression, condition.low, condition.high)
        low, high = (day and f"{day:%Y%m%d}" for day in (condition.low, condition.high))
        digits = f"replace({expression}, '.', '') COLLATE \"C\""
        return f"{expression} ~ '{_TEXT_DATE}' AND {self._between(digits, low, high)}"

    def _times(self, attribute: IndexedAttribute, condition: Times, expression: str) -> str:
        if attribute.column:
            return self._between(expression, condition.low, condition.high)
        low, high = (at and f"{at:%H%M%S%f}" for at in (condition.low, condition.high))
        return (
            f"{expression} ~ '{_TEXT_TIME}' AND "
            f"{self._between(_time_digits(expression), low, high)}"
        )

    def _moments(self, attribute: IndexedAttribute, condition: Moments) -> str:
        """Return the condition for a date and its time together."""
        clock = time_of(attribute)
        day, hour = stored_expression(attribute), stored_expression(clock)
        words: list[str] = []
        if not attribute.column:
            words.append(f"{day} ~ '{_TEXT_DATE}'")
            day = f"replace({day}, '.', '') COLLATE \"C\""
        if not clock.column:
            words.append(f"{hour} ~ '{_TEXT_TIME}'")
            hour = _time_digits(hour)
        for sign, end in ((">=", condition.low), ("<=", condition.high)):
            if end is None:
                continue
            first = self._parameter(end.date() if attribute.column else f"{end:%Y%m%d}")
            # An index can answer only the condition on the date.
            words.append(f"{day} {sign} {first}")
            again = self._parameter(end.date() if attribute.column else f"{end:%Y%m%d}")
            second = self._parameter(end.time() if clock.column else f"{end:%H%M%S%f}")
            words.append(f"({day} <> {again} OR {hour} {sign} {second})")
        words.append(f"{hour} IS NOT NULL")
        return " AND ".join(words)

    def _between(self, expression: str, low: object, high: object) -> str:
        if low == high:
            return f"{expression} = {self._parameter(low)}"
        words = []
        if low is not None:
            words.append(f"{expression} >= {self._parameter(low)}")
        if high is not None:
            words.append(f"{expression} <= {self._parameter(high)}")
        return " AND ".join(words)

    def _in_array(self, attribute: IndexedAttribute, condition: Condition) -> str:
        column = f"{ALIASES[attribute.level]}.{attribute.column}"
        if isinstance(condition, Texts):
            return f"{column} && {self._parameter(list(condition.values))}"
        value = self._value(attribute, condition, "v")
        return f"EXISTS (SELECT FROM unnest({column}) AS v WHERE {value})"

    def _items(self, attribute: IndexedAttribute, condition: Items) -> str:
        words = []
        for keyword, inner in condition.conditions:
            plain = IndexedAttribute(keyword, 0, "LO", attribute.level)
            words.append(self._value(plain, inner, f"(item->>'{keyword}')"))
        column = f"{ALIASES[attribute.level]}.{attribute.column}"
        return (
            f"EXISTS (SELECT FROM jsonb_array_elements({column}) AS item"
            f" WHERE {' AND '.join(words)})"
        )

    def _names(self, attribute: IndexedAttribute, condition: Names) -> str:
        column = f"{self._aliases[attribute.level]}.{attribute.search}"
        return _any(self._name(name, column) for name in condition.names)

    def _name(self, name: Name, column: str) -> str:
        if name.anywhere:
            return _any(self._in_some_group(one, column) for one in name.anywhere)
        return " AND ".join(
            _any(self._in_group(number, one, column) for one in patterns)
            for number, patterns in name.groups
        )

    def _in_some_group(self, one: Pattern, column: str) -> str:
        """Return the condition that a pattern matches a whole group of `=a=i=p=`."""
        ends = one.tokens[0] is Wild.MANY, one.tokens[-1] is Wild.MANY
        inner = one.tokens[ends[0] : len(one.tokens) - ends[1]]
        before, after = ("%" if ends[0] else "%="), ("%" if ends[1] else "=%")
        # A wildcard inside could reach into the next group; other patterns cannot.
        rough = before + like(Pattern(inner)) + after
        words = f"{column} LIKE {self._parameter(rough)}"
        if any(isinstance(token, Wild) for token in inner):
            exact = f"={one.regex('[^=]')}="
            words += f" AND {column} ~ {self._parameter(exact)}"
        return words

    def _in_group(self, number: int, one: Pattern, column: str) -> str:
        exact = f"^={'[^=]*=' * number}{one.regex('[^=]')}="
        rough = f"%{like(one)}%"
        return f"{column} LIKE {self._parameter(rough)} AND {column} ~ {self._parameter(exact)}"

    def _parameter(self, value: object) -> str:
        self.parameters.append(value)
        return "%s"


class _FindBuilder(SelectBuilder):
    """A SELECT that distinguishes the people under one identity."""

    def __init__(self, query: FindQuery) -> None:
        super().__init__()
        self._query = query
        self._persons = SelectBuilder(_AMONG_PERSONS)
        for attribute, condition in query.conditions.items():
            if attribute not in query.left_over:
                self.require(attribute, condition)
        self.levels |= {attribute.level for attribute in query.columns}
        if self._persons.conditions:
            self.conditions.append("(NOT p.ambiguous OR n.id IS NOT NULL)")
        # Without a condition, a patient is answered as its row says.
        self._telling = bool(self._persons.conditions) or (
            query.level > Level.PATIENT and any(map(_is_personal, query.columns))
        )

    @override
    def require(self, attribute: IndexedAttribute, condition: Condition) -> None:
        if not _is_personal(attribute):
            super().require(attribute, condition)
            return
        self.levels.add(attribute.level)
        words = self._condition(attribute, condition)
        if isinstance(condition, Moments):
            # If there is a name condition, only the date is kept.
            low, high = condition.low, condition.high
            condition = Dates(low and low.date(), high and high.date())
        self._persons.require(attribute, condition)
        self.conditions.append(f"({words} OR {self._otherwise(attribute, condition)})")

    def _otherwise(self, attribute: IndexedAttribute, condition: Condition) -> str:
        """Return the condition by which an index finds patients whose other persons may match."""
        if attribute.column not in _INDEXED_OF_PERSONS:
            return "p.ambiguous"
        found = SelectBuilder(_AMONG_PERSONS)
        found.require(attribute, condition)
        self.parameters += found.parameters
        words = " AND ".join(found.conditions)
        return f"p.id = ANY(ARRAY(SELECT n.patient_pk FROM stated_persons n WHERE {words}))"  # noqa: S608 - parameters

    def finish(self, page: MatchPage | None) -> tuple[bytes, list[Any]]:
        """Return the statement and its parameters."""
        level = self._query.level
        order = "" if page is None else f"ORDER BY {_ORDERS[level]} {page.words}"
        columns = [self._shown(attribute) for attribute in self._query.columns]
        if not self._telling:
            return self.text(level, columns, order), self.parameters
        of_whom = "n.patient_pk = p.id" if level is Level.PATIENT else "n.study_pk = s.id"
        fitting = " AND ".join(["p.ambiguous", of_whom, *self._persons.conditions])
        # The name in the patient's row takes precedence over others of the study.
        join = (
            f"LEFT JOIN LATERAL (SELECT n.* FROM stated_persons n WHERE {fitting}"  # noqa: S608
            " ORDER BY n.name_search <> p.name_search, n.name_search, n.birth_date, n.name, n.sex"
            " LIMIT 1) n ON true"
        )
        text = self.text(level, columns, order, join)
        return text, self._persons.parameters + self.parameters

    def _shown(self, attribute: IndexedAttribute) -> str:
        expression = shown_expression(attribute)
        if not self._telling or not _is_personal(attribute):
            return expression
        person = _FORMATS.get(attribute.vr, "{}").format(f"n.{attribute.column}")
        return f"CASE WHEN p.ambiguous THEN {person} ELSE {expression} END"


def _is_personal(attribute: IndexedAttribute) -> bool:
    return attribute.level is Level.PATIENT and attribute.column in _PERSONAL


def find_statement(query: FindQuery, page: MatchPage | None = None) -> tuple[bytes, list[Any]]:
    """Return the statement that finds the matches of a query, except for `left_over` conditions.

    With a page, the matches are in an order that does not change between pages.
    """
    return _FindBuilder(query).finish(page)


def retrieve_statement(selection: Selection) -> tuple[bytes, list[Any]]:
    """Return the statement that finds the instances of a selection, in reading order."""
    statement = SelectBuilder()
    for attribute, condition in selection.conditions.items():
        statement.require(attribute, condition)
    # The audit trail records the studies, at whatever level the retrieve asks.
    statement.levels.add(Level.STUDY)
    columns = (
        "i.sop_instance_uid",
        "i.sop_class_uid",
        "i.transfer_syntax_uid",
        "i.path",
        "s.study_instance_uid",
    )
    order = "ORDER BY i.series_pk, i.instance_number, i.id"
    return statement.text(Level.IMAGE, columns, order), statement.parameters


def stored_expression(attribute: IndexedAttribute, alias: str = "") -> str:
    """Return the expression of an attribute's value in the form that the index compares."""
    alias = alias or ALIASES[attribute.level]
    if attribute.column:
        return f"{alias}.{attribute.column}"
    return f"({alias}.attributes->>'{attribute.keyword}')"


def shown_expression(attribute: IndexedAttribute) -> str:
    """Return the expression of an attribute's value as text, in the form that answers contain."""
    expression = stored_expression(attribute)
    if not attribute.column:
        return expression
    if attribute.column in _ARRAYS:
        return f"array_to_string({expression}, '\\')"
    if attribute.column in _COUNTS or attribute.vr == "SQ":
        return f"{expression}::text"
    text = _FORMATS.get(attribute.vr)
    if text is None:
        return expression
    # A value that the column cannot hold is in the document (see draw_shared.dicom.query.keys).
    beside = f"{ALIASES[attribute.level]}.attributes->>'{attribute.keyword}'"
    return f"coalesce({beside}, {text.format(expression)})"


_FORMATS: Final[Mapping[str, str]] = {
    "DA": "to_char({}, 'YYYYMMDD')",
    "TM": "rtrim(rtrim(to_char({}, 'HH24MISS.US'), '0'), '.')",
    "IS": "{}::text",
}


def like(one: Pattern) -> str:
    """Return a pattern in the syntax of LIKE."""
    words = {Wild.ONE: "_", Wild.MANY: "%"}
    return "".join(
        words[token] if isinstance(token, Wild) else like_literal(token) for token in one.tokens
    )


def _is_ascii(one: Pattern) -> bool:
    return all(isinstance(token, Wild) or token.isascii() for token in one.tokens)


def _loosen(one: Pattern) -> str:
    """Return a LIKE pattern on comparable text that matches at least what `one` matches."""
    parts = ("%" if isinstance(t, Wild) else like_literal(search_text(t)) for t in one.tokens)
    return f"%{'%'.join(parts)}%"


def _any(conditions: Iterable[str]) -> str:
    found = list(conditions)
    return found[0] if len(found) == 1 else f"({' OR '.join(f'({one})' for one in found)})"


def _parts(expression: str) -> str:
    return f"unnest(string_to_array({expression}, '\\')) AS v"


def _time_digits(expression: str) -> str:
    digits = f"translate({expression}, ':.', '')"
    return f"rpad({digits}, {_TIME_DIGITS}, '0') COLLATE \"C\""
