"""The document of the rules: what may stand in it, checked field by field.

Conditions are data, so that a page can show them and a later release understand them. Each one is
checked against the VR of its subject when the document is read, not when a series waits.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    JsonValue,
    StrictBool,
    Tag,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from draw_shared.contracts.texts import TextForm
from draw_shared.routing.destinations import (
    MAX_DESTINATION_DEFINITIONS,
    Destination,
    disagreements_of,
)
from draw_shared.routing.expressions import check_expression
from draw_shared.routing.parts import AT_ITS_ENDS, Name, Problem, RoutingPart
from draw_shared.routing.subjects import (
    BESIDE,
    MAX_SUBJECT_LENGTH,
    REASON,
    ConditionSubject,
    ValueKind,
    subject_of,
)
from draw_shared.routing.value_forms import misfit_of, misfit_of_number
from draw_shared.routing.values import PARSERS
from draw_shared.wording import message

MAX_RULES: Final = 200
MAX_CONDITIONS: Final = 2000
MAX_CONDITIONS_TOGETHER: Final = 100
"""Conditions of one `all` or `any`."""
MAX_DEPTH: Final = 8
MAX_EXPRESSIONS: Final = 200
MAX_DESTINATIONS: Final = 20
MAX_VALUE_LENGTH: Final = 1024
MAX_CHOICES: Final = 200
MAX_NUMBER: Final = 1e300
MAX_DOCUMENT_CHARACTERS: Final = 256 * 1024
MAX_NESTING: Final = 40
"""Levels of JSON; a document within the other limits has fewer."""


class Trigger(StrEnum):
    """The event that has a rule looked at."""

    SERIES_COMPLETE = "series_complete"
    STUDY_COMPLETE = "study_complete"
    INSTANCE = "instance"


class Operator(StrEnum):
    """How a condition compares the values of its subject."""

    EQUALS = "equals"
    NOT_EQUALS = "not_equals"
    LESS = "<"
    LESS_OR_EQUAL = "<="
    GREATER = ">"
    GREATER_OR_EQUAL = ">="
    CONTAINS = "contains"
    DOES_NOT_CONTAIN = "does_not_contain"
    STARTS_WITH = "starts_with"
    IS_EMPTY = "is_empty"
    IS_ONE_OF = "is_one_of"
    MATCHES = "matches"


ORDER: Final = frozenset(
    (Operator.LESS, Operator.LESS_OR_EQUAL, Operator.GREATER, Operator.GREATER_OR_EQUAL)
)
NEGATIVE: Final = frozenset((Operator.NOT_EQUALS, Operator.DOES_NOT_CONTAIN))
"""Operators that hold for a subject without values, and mean all values unless told."""
EQUALITY: Final = frozenset((Operator.EQUALS, Operator.NOT_EQUALS, Operator.IS_ONE_OF))
UNBOUND: Final = frozenset((Operator.MATCHES, Operator.IS_EMPTY))
"""Operators whose value is no text of an element."""
OF_TEXT: Final = frozenset(
    (
        *EQUALITY,
        Operator.CONTAINS,
        Operator.DOES_NOT_CONTAIN,
        Operator.STARTS_WITH,
        Operator.IS_EMPTY,
        Operator.MATCHES,
    )
)
OF_ORDERED: Final = frozenset((*EQUALITY, *ORDER, Operator.IS_EMPTY))
OPERATORS: Final[Mapping[ValueKind, frozenset[Operator]]] = {
    ValueKind.TEXT: OF_TEXT,
    ValueKind.NUMBER: OF_ORDERED,
    ValueKind.DATE: OF_ORDERED,
    ValueKind.TIME: OF_ORDERED,
    ValueKind.MOMENT: OF_ORDERED,
    ValueKind.AGE: OF_ORDERED,
    ValueKind.FLAG: frozenset((Operator.EQUALS,)),
    ValueKind.PRESENCE: frozenset((Operator.IS_EMPTY,)),
}
"""The operators that each kind of subject has."""
MISFITS: Final[Mapping[ValueKind, Callable[..., str | None]]] = {
    ValueKind.TEXT: misfit_of,
    ValueKind.NUMBER: misfit_of_number,
}
"""What says of a value that no element can have it, by the kind of the subject."""
REASONS: Final = ("association_ended", "quiet", "proved")
FORMS: Final[Mapping[ValueKind, str]] = {
    ValueKind.DATE: message("must be a date such as 20261130"),
    ValueKind.TIME: message("must be a time such as 183000"),
    ValueKind.MOMENT: message("must be a date and time such as 20261130183000"),
    ValueKind.AGE: message("must be an age such as 018Y"),
}

TIME_OF_DAY: Final = TextForm(
    r"^([01][0-9]|2[0-3]):[0-5][0-9]$", message("must be a time of day such as 18:30")
)
ClockTime = Annotated[str, TIME_OF_DAY]
Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


_SCALARS: Final = ({"type": "string"}, {"type": "number"})
ComparisonValue = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                *_SCALARS,
                {"type": "boolean"},
                {"type": "array", "items": {"anyOf": list(_SCALARS)}},
                {"type": "null"},
            ]
        }
    ),
]
"""Checked by its subject and operator, which pydantic's own types know nothing of."""


class Comparison(RoutingPart):
    """Compares the values of one subject."""

    subject: str = Field(
        max_length=MAX_SUBJECT_LENGTH,
        description="an element by keyword or tag, within sequences as a path with dots,"
        " a private one as 0019xx0C[CREATOR]; or one of " + ", ".join(BESIDE),
        examples=["SeriesDescription"],
    )
    operator: Operator = Field(examples=["matches"])
    value: ComparisonValue = Field(
        default=None,
        validate_default=True,
        description="text, a number, true or false, or for `is_one_of` a list; dates as 20261130",
        examples=["topogram|scout"],
    )
    case_sensitive: StrictBool = Field(
        default=False, description="whether capital and small letters differ"
    )
    of: Literal["any", "all"] | None = Field(
        default=None,
        description="of several values, whether one must fulfil it or all; null: one, and all for"
        " `not_equals` and `does_not_contain`",
    )

    @field_validator("subject")
    @classmethod
    def _subject(cls, value: str) -> str:
        subject_of(value)
        return value

    @field_validator("operator")
    @classmethod
    def _operator(cls, value: Operator, info: ValidationInfo) -> Operator:
        if "subject" in info.data:
            kind = subject_of(info.data["subject"]).kind
            if value not in OPERATORS[kind]:
                raise ValueError(
                    message(
                        "does not fit %(subject)s, which has %(operators)s",
                        subject=info.data["subject"],
                        operators=", ".join(o for o in Operator if o in OPERATORS[kind]),
                    )
                )
        return value

    @field_validator("value")
    @classmethod
    def _value(cls, value: JsonValue, info: ValidationInfo) -> JsonValue:
        if "subject" not in info.data or "operator" not in info.data:
            return value
        return _checked(value, subject_of(info.data["subject"]), info.data["operator"])

    @property
    def about(self) -> ConditionSubject:
        """What it looks at."""
        return subject_of(self.subject)

    @property
    def wants_all(self) -> bool:
        """Whether all values must fulfil it."""
        return self.operator in NEGATIVE if self.of is None else self.of == "all"


class TimeWindow(RoutingPart):
    """A window of the day in a time zone; one over midnight belongs to the day it begins on."""

    begin: ClockTime = Field(alias="from", examples=["22:00"])
    end: ClockTime = Field(alias="to", description="no longer within", examples=["06:00"])
    zone: str = Field(
        max_length=64, description="name of the time zone", examples=["Europe/Vienna"]
    )
    days: tuple[Day, ...] = Field(default=(), max_length=7, description="empty: every day")

    @field_validator("end")
    @classmethod
    def _end(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("begin"):
            raise ValueError(message("must be another time than the beginning"))
        return value

    @field_validator("zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError, LookupError):
            raise ValueError(
                message("is not the name of a time zone such as Europe/Vienna")
            ) from None
        return value


class TimeOfDay(RoutingPart):
    """Holds while the moment of the event lies in a window of the day."""

    time_of_day: TimeWindow


def _some(value: tuple["Condition", ...]) -> tuple["Condition", ...]:
    """Refuse an empty list; `min_length` would count invalid conditions as missing ones."""
    if not value:
        raise ValueError(message("must not be empty"))
    return value


Conditions = Annotated[tuple["Condition", ...], AfterValidator(_some)]


class AllOf(RoutingPart):
    """Holds if every condition holds."""

    conditions: Conditions = Field(alias="all", max_length=MAX_CONDITIONS_TOGETHER)


class AnyOf(RoutingPart):
    """Holds if one of the conditions holds."""

    conditions: Conditions = Field(alias="any", max_length=MAX_CONDITIONS_TOGETHER)


class Not(RoutingPart):
    """Holds if its condition does not."""

    condition: "Condition" = Field(alias="not")


_NODES: Final = {"all": "of_all", "any": "of_any", "not": "of_not", "time_of_day": "of_time"}
_CLASSES: Final[Mapping[type, str]] = {
    AllOf: "of_all",
    AnyOf: "of_any",
    Not: "of_not",
    TimeOfDay: "of_time",
    Comparison: "of_values",
}


def _node(value: Any) -> str | None:  # noqa: ANN401 - anything may be sent
    """Return the tag of a condition, None if it is none."""
    if isinstance(value, Mapping):
        for key, tag in _NODES.items():
            if key in value:
                return tag
        return "of_values" if value else None
    return _CLASSES.get(type(value))


Condition = Annotated[
    Annotated[AllOf, Tag("of_all")]
    | Annotated[AnyOf, Tag("of_any")]
    | Annotated[Not, Tag("of_not")]
    | Annotated[TimeOfDay, Tag("of_time")]
    | Annotated[Comparison, Tag("of_values")],
    Discriminator(
        _node,
        custom_error_type="no_condition",
        custom_error_message=message(
            "must be a condition: an object with all, any, not, time_of_day or subject"
        ),
    ),
]


class RoutingRule(RoutingPart):
    """One rule: when it applies, what is received goes to its destinations."""

    name: Name = Field(description="unique", examples=["Planning CT to contouring"])
    active: StrictBool = True
    trigger: Trigger = Trigger.SERIES_COMPLETE
    when: Condition | None = Field(default=None, description="null: always")
    destinations: tuple[Name, ...] = Field(default=(), max_length=MAX_DESTINATIONS)
    stop: StrictBool = Field(
        default=False, description="if it applies, the rules after it are not looked at"
    )

    @field_validator("destinations")
    @classmethod
    def _destinations(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(message("must not name a destination twice"))
        return value


EXAMPLE: Final = {
    "name": "Planning CT to contouring",
    "when": {
        "all": [
            {"subject": "Modality", "operator": "equals", "value": "CT"},
            {"not": {"subject": "SeriesDescription", "operator": "matches", "value": "scout"}},
        ]
    },
    "destinations": ["contouring"],
}


EXAMPLE_DESTINATION: Final = {"kind": "node", "name": "contouring", "remote_node": "CONTOURING"}


class RoutingDocument(RoutingPart):
    """Destinations, and rules in the order in which they are looked at."""

    destinations: tuple[Destination, ...] = Field(
        default=(),
        max_length=MAX_DESTINATION_DEFINITIONS,
        description="unique names",
        examples=[[EXAMPLE_DESTINATION]],
    )
    rules: tuple[RoutingRule, ...] = Field(
        default=(), max_length=MAX_RULES, description="unique names", examples=[[EXAMPLE]]
    )

    @model_validator(mode="before")
    @classmethod
    def _size(cls, given: object) -> object:
        if not isinstance(given, cls):
            _check_size(given)
        return given

    @classmethod
    def read(cls, given: object) -> Self:
        """Return the document in JSON that was typed; what is stored was checked before.

        Raises:
            ValidationError: it is none; each error says where and in which words.
        """
        document = cls.model_validate(given)
        document.check()
        return document

    def check(self) -> None:
        """Check what no field alone can tell.

        Raises:
            ValidationError: rules do not go together; each error says where and in which words.
        """
        problems = [
            *disagreements_of(self.destinations),
            *_disagreements(self.rules, {one.name for one in self.destinations}),
        ]
        if problems:
            raise ValidationError.from_exception_data(
                type(self).__name__,
                [
                    InitErrorDetails(
                        type=PydanticCustomError("routing", "{words}", {"words": words}),
                        loc=place,
                        input=None,
                    )
                    for place, words in problems
                ],
            )

    def stored(self) -> dict[str, Any]:
        """Return it in the form in which it is stored."""
        return self.model_dump(mode="json", by_alias=True)


def conditions_of(condition: "Condition | None") -> Iterator[tuple["Condition", int]]:
    """Yield a condition and all within it, each with its depth."""
    waiting = [] if condition is None else [(condition, 1)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        if isinstance(node, AllOf | AnyOf):
            waiting += [(inner, depth + 1) for inner in node.conditions]
        elif isinstance(node, Not):
            waiting.append((node.condition, depth + 1))


def _checked(value: JsonValue, subject: ConditionSubject, operator: Operator) -> JsonValue:
    """Return a condition's value; ValueError in words if it does not fit."""
    if operator is Operator.IS_EMPTY or subject.kind is ValueKind.FLAG:
        if value is None:
            return True
        if not isinstance(value, bool):
            raise ValueError(message("must be true or false"))
        return value
    if value is None:
        raise ValueError(message("is needed"))
    if operator is not Operator.IS_ONE_OF:
        return _one(value, subject, operator)
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CHOICES:
        raise ValueError(message("must be a list with 1 to %(count)s values", count=MAX_CHOICES))
    return [_one(one, subject, operator) for one in value]


def _one(value: JsonValue, subject: ConditionSubject, operator: Operator) -> JsonValue:
    if subject.kind is ValueKind.NUMBER:
        return _checked_number(value, subject)
    text = _checked_text(value)
    if operator is Operator.MATCHES:
        check_expression(text)
    elif subject.kind in FORMS and PARSERS[subject.kind](text) is None:
        raise ValueError(FORMS[subject.kind])
    elif subject.name == REASON and operator in EQUALITY and text not in REASONS:
        raise ValueError(message("must be one of %(choices)s", choices=", ".join(REASONS)))
    return text


def _checked_number(value: JsonValue, subject: ConditionSubject) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(  # noqa: TRY004 - pydantic reports ValueError
            message("must be a number: %(name)s is one", name=subject.name)
        )
    if abs(value) > MAX_NUMBER or math.isnan(value):
        raise ValueError(message("must be a number that DICOM can have"))
    return value


def _checked_text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise ValueError(message("must be text"))  # noqa: TRY004 - pydantic reports ValueError
    if not value:
        raise ValueError(message("must not be empty; is_empty asks for that"))
    if len(value) > MAX_VALUE_LENGTH:
        raise ValueError(message("must have at most %(count)s characters", count=MAX_VALUE_LENGTH))
    if not _is_encodable(value):
        raise ValueError(message("has characters that nothing can keep"))
    return value


def _is_encodable(text: str) -> bool:
    """Return whether text has neither half a character nor a null, which no database keeps."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _check_size(given: object) -> None:
    """Refuse what is too large or too deep before anything walks through it by recursion."""
    waiting: list[tuple[object, int]] = [(given, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_NESTING:
            raise ValueError(message("is nested too deeply"))
        if isinstance(value, Mapping):
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list | tuple):
            waiting += [(inner, depth + 1) for inner in value]
    if len(json.dumps(given, ensure_ascii=False, default=str)) > MAX_DOCUMENT_CHARACTERS:
        raise ValueError(
            message("must have at most %(count)s characters", count=MAX_DOCUMENT_CHARACTERS)
        )


def _disagreements(
    rules: Sequence[RoutingRule], destinations: AbstractSet[str]
) -> Iterator[Problem]:
    """Yield what is wrong with rules together, each with its place in the document."""
    names: set[str] = set()
    conditions = expressions = 0
    for number, rule in enumerate(rules):
        place = ("rules", number)
        if rule.name.casefold() in names:
            yield (*place, "name"), message("is the name of an earlier rule")
        names.add(rule.name.casefold())
        if rule.name != rule.name.strip():
            yield (*place, "name"), AT_ITS_ENDS
        yield from _wrong_destinations(rule, place, destinations)
        yield from _misfits(rule.when, (*place, "when"))
        if any(depth > MAX_DEPTH for _, depth in conditions_of(rule.when)):
            yield (
                (*place, "when"),
                message("must be nested at most %(count)s deep", count=MAX_DEPTH),
            )
        nodes = [node for node, _ in conditions_of(rule.when)]
        conditions += len(nodes)
        expressions += sum(
            isinstance(node, Comparison) and node.operator is Operator.MATCHES for node in nodes
        )
    if conditions > MAX_CONDITIONS:
        yield ("rules",), message("must have at most %(count)s conditions", count=MAX_CONDITIONS)
    if expressions > MAX_EXPRESSIONS:
        yield (
            ("rules",),
            message("must have at most %(count)s regular expressions", count=MAX_EXPRESSIONS),
        )


def _misfits(condition: "Condition | None", place: tuple[int | str, ...]) -> Iterator[Problem]:
    """Yield values that no element of their VR can have, each with its place."""
    if isinstance(condition, AllOf | AnyOf):
        word = "all" if isinstance(condition, AllOf) else "any"
        for number, inner in enumerate(condition.conditions):
            yield from _misfits(inner, (*place, word, number))
    elif isinstance(condition, Not):
        yield from _misfits(condition.condition, (*place, "not"))
    elif (
        isinstance(condition, Comparison)
        and condition.about.kind in MISFITS
        and condition.operator not in UNBOUND
    ):
        misfit = MISFITS[condition.about.kind]
        several = isinstance(condition.value, list)
        for number, value in enumerate(condition.value if several else [condition.value]):
            words = misfit(value, condition.about, whole=condition.operator in EQUALITY)
            if words is not None:
                yield (*place, "value", *([number] if several else [])), words


def _wrong_destinations(
    rule: RoutingRule, place: tuple[int | str, ...], known: AbstractSet[str]
) -> Iterator[Problem]:
    if not rule.destinations and not rule.stop:
        yield (*place, "destinations"), message("needs a destination, unless the rule stops")
    for position, name in enumerate(rule.destinations):
        if name not in known:
            yield (
                (*place, "destinations", position),
                message("is no destination of this document"),
            )
