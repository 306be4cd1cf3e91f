"""Queries to remote nodes, as operators send them and read their results."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from draw_api.models.jobs import JobState, JobWait
from draw_api.models.paging import Answer, Request
from draw_api.models.retrieves import Retrieve, RetrieveOptions
from draw_shared.contracts.identifiers import OptionalAeTitle
from draw_shared.contracts.moments import Moment
from draw_shared.contracts.texts import LINE
from draw_shared.dicom.encoding import dictionary
from draw_shared.dicom.query.typed_keys import UnclearKey, key_as_sent
from draw_shared.wording import message

Level = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]
KeyValue = Annotated[str, StringConstraints(strip_whitespace=False, max_length=1024), LINE]
KeyValues = Annotated[
    Annotated[KeyValue, Tag("text")] | Annotated[list[KeyValue], Tag("texts")],
    Discriminator(lambda value: "texts" if isinstance(value, list) else "text"),
]
StudyDates = Literal["", "today", "yesterday", "last_7_days", "last_30_days"]
"""Days that are counted back from the day on which the query is sent."""
MAX_KEYS: Final = 50
MAX_NODES: Final = 32
MAX_RESULTS: Final = 100_000
MAX_CHOSEN: Final = 5_000
NOT_ASKED_FOR: Final = frozenset({"SQ", "OB", "OW", "OD", "OF", "OL", "OV", "UN"})
NEEDED_ABOVE: Final[Mapping[str, tuple[str, ...]]] = {
    "SERIES": ("StudyInstanceUID",),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID"),
}
"""Unique keys of the levels above, which hierarchical queries need (PS3.4 C.4.1.2.1)."""


def _known_zone(name: str) -> str:
    if name and not is_zone(name):
        raise ValueError(message("must be the name of a time zone such as Europe/Berlin"))
    return name


def is_zone(name: str) -> bool:
    """Return whether a time zone has this name."""
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return False
    return True


TimeZone = Annotated[str, Field(max_length=64), AfterValidator(_known_zone)]

EXAMPLE: Final[dict[str, Any]] = {
    "level": "STUDY",
    "keys": {"PatientName": "SMITH*", "StudyDate": "20260101-20260131", "ModalitiesInStudy": "CT"},
    "node_ids": [1, 2],
}


class NewQuery(Request):
    """The nodes to ask, and keys by DICOM keyword, with wildcards and ranges."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    level: Level = "STUDY"
    keys: dict[str, KeyValues] = Field(
        default={},
        max_length=MAX_KEYS,
        description="an empty value requests the attribute; the usual ones are requested anyway;"
        " `01.11.2026` or `Smith, J` is sent in DICOM form, unclear values are refused",
    )
    node_ids: list[Annotated[StrictInt, Field(ge=1, le=2**63 - 1)]] = Field(
        min_length=1, max_length=MAX_NODES
    )
    limit: StrictInt = Field(
        default=0, ge=0, le=MAX_RESULTS, description="most results of each node; 0: all"
    )
    max_age_seconds: StrictInt = Field(
        default=300, ge=0, le=86400, description="accept an answer of this age; 0: ask again"
    )
    study_dates: StudyDates = Field(
        default="", description="days up to today, instead of the key StudyDate; empty: that key"
    )
    zone: TimeZone = Field(
        default="", description="time zone in which it is today, as Europe/Berlin; empty: UTC"
    )

    @field_validator("keys")
    @classmethod
    def _check_keywords(cls, keys: dict[str, Any]) -> dict[str, Any]:
        for keyword in keys:
            tag = dictionary.tag_of(keyword)
            if tag is None or tag >> 16 in {0x0000, 0x0002} or keyword == "QueryRetrieveLevel":
                raise ValueError(
                    message(
                        "%(keyword)s is not the keyword of a query key", keyword=repr(keyword[:64])
                    )
                )
            if NOT_ASKED_FOR.intersection(dictionary.vr_of(tag).split(" or ")):
                raise ValueError(message("%(keyword)s cannot be asked for", keyword=keyword))
        return _normalise_keys(keys)

    @model_validator(mode="after")
    def _check_hierarchy(self) -> Self:
        for keyword in NEEDED_ABOVE.get(self.level, ()):
            if not self.keys.get(keyword):
                raise ValueError(
                    message(
                        "a query at the level %(level)s needs the %(keyword)s",
                        level=self.level,
                        keyword=keyword,
                    )
                )
        return self


def _normalise_keys(keys: Mapping[str, str | list[str]]) -> dict[str, str | list[str]]:
    """Return the keys in the form in which nodes get them.

    Raises:
        ValidationError: some keys have no meaning or two; each problem names its key.
    """
    sent: dict[str, str | list[str]] = {}
    problems: list[InitErrorDetails] = []
    for keyword, typed in keys.items():
        try:
            text = key_as_sent(keyword, typed if isinstance(typed, str) else "\\".join(typed))
        except UnclearKey as unclear:
            words = PydanticCustomError("unclear_key", "{words}", {"words": str(unclear)})
            problems.append(InitErrorDetails(type=words, loc=(keyword,), input=typed))
        else:
            sent[keyword] = text if isinstance(typed, str) else text.split("\\")
    if problems:
        raise ValidationError.from_exception_data("keys", problems)
    return sent


@dataclass(frozen=True, slots=True)
class ChosenMatch:
    """One match of a query, with what its query knows of the levels above."""

    id: int
    node_id: int
    query_model: str
    attributes: Mapping[str, Any]
    """Of the match and of those above it."""


@dataclass(frozen=True, slots=True)
class QueryCriteria:
    """Selects queries of the history; an empty value matches all."""

    node_id: int | None = None
    created_by: str = ""
    since: datetime | None = None
    until: datetime | None = None


class NodeAnswer(Answer):
    """One node's progress with a query."""

    node_id: int | None
    node_name: str | None
    state: JobState
    matches: int
    requests: int = Field(description="C-FIND requests; more than one where the node truncates")
    completeness: Literal["", "complete", "truncated"]
    error: str
    wait: JobWait | None = Field(default=None, description="null: it was asked")


class QueryOrigin(Answer):
    """The match of another query whose series or images a query asks for."""

    query_id: UUID
    attributes: dict[str, Any] = Field(
        description="of the match and of those above it", examples=[{"PatientName": "Smith^J"}]
    )


class Query(Answer):
    """One query with its progress; results are read page by page."""

    id: UUID
    level: Level
    keys: dict[str, Any] = Field(description="as nodes are sent them")
    node_ids: list[int]
    state: JobState
    completeness: Literal["", "complete", "truncated"] = Field(
        description="truncated: some node did not return everything; empty: not finished yet"
    )
    matches: int
    nodes: list[NodeAnswer]
    expired: bool = Field(description="the results are gone; run it again")
    created_at: datetime
    created_by: str
    finished_at: datetime | None
    expires_at: datetime | None
    opened_from: QueryOrigin | None = Field(
        default=None, description="null: it was not made by opening a match"
    )


class QueryMatch(Answer):
    """One match."""

    id: int
    node_id: int
    node_name: str
    attributes: dict[str, Any] = Field(
        examples=[{"StudyInstanceUID": "1.2.840.113619.2.55.3", "StudyDate": "20260102"}]
    )
    instances_here: int | None = Field(
        description="SOP instances of this study, series or image that are here; null: of a patient"
    )


class RetrieveMatches(Request):
    """Which matches of a query to retrieve, to where, when and how."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"result_ids": [1, 2]}]})

    result_ids: list[Annotated[StrictInt, Field(ge=1, le=2**63 - 1)]] = Field(
        min_length=1, max_length=MAX_CHOSEN, description="`id` of matches, of any level"
    )
    method: Literal["auto", "move", "get"] = "auto"
    destination: OptionalAeTitle = Field(
        default="", description="AE title that C-MOVE sends to; empty: this suite"
    )
    priority: StrictInt = Field(default=5, ge=1, le=9, description="1 is the most urgent")
    not_before: Moment | None = Field(default=None, description="begin at the earliest")
    force: StrictBool = Field(
        default=False, description="also what is already here or already on the way"
    )

    def options(self, node_id: int) -> RetrieveOptions:
        """Return the options for retrieving from one node."""
        given = self.model_dump(exclude={"result_ids"})
        return RetrieveOptions.model_validate(given | {"node_id": node_id})


class MatchesRetrieved(Answer):
    """The retrieves of the chosen matches, one or a batch for each node."""

    retrieves: list[Retrieve]
    new: int = Field(description="how many of them are new; the others were on the way already")
