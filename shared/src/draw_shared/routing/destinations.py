"""Where rules send: nodes, folders, Celery tasks, webhooks, and groups of these.

A destination has a name, by which rules and groups call it; what it names in turn (a remote node, a
webhook) is looked up when something is sent, and checked when the document is saved. One kind sends
nothing: it has a patient's earlier studies retrieved.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StrictBool, StrictInt, field_validator

from draw_shared.contracts.texts import LINE, TextForm
from draw_shared.routing.parts import AT_ITS_ENDS, Name, Problem, RoutingPart
from draw_shared.routing.subjects import MAX_SUBJECT_LENGTH, subject_of
from draw_shared.wording import message

MAX_DESTINATION_DEFINITIONS: Final = 100
MAX_MEMBERS: Final = 10
MAX_FIELDS: Final = 50
MAX_MODALITIES: Final = 20
MAX_PRIORS: Final = 50
MAX_MONTHS: Final = 600
SECONDS_PER_DAY: Final = 86_400

MARKER: Final = TextForm(
    r"^([A-Za-z0-9._-]{1,64})?$",
    message("must be a file name of letters, digits, dot, hyphen and underscore"),
)
MODALITY: Final = TextForm(
    r"^[A-Z0-9_]{1,16}$",
    message("must be a modality in capital letters, such as CT"),
)


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(message("must be an absolute path"))
    # Two slashes at the beginning would be kept.
    path = posixpath.normpath(f"/{value.lstrip('/')}")
    if path == "/":
        raise ValueError(message("must be a folder below the root"))
    return path


def _marker(value: str) -> str:
    if value in {".", ".."} or value.endswith(".dcm"):
        raise ValueError(message("must be another name than that of an object"))
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError(message("must not be empty"))
    return value


def _subject(value: str) -> str:
    subject_of(value)
    return value


def _addressable(value: str) -> str:
    if "/" in value or value in {".", ".."}:
        raise ValueError(message("must have no slash, and be no dots: it stands in addresses"))
    return value


CeleryName = Annotated[str, Field(min_length=1, max_length=200), LINE, AfterValidator(_not_blank)]
FolderPath = Annotated[str, Field(min_length=1, max_length=500), LINE, AfterValidator(_absolute)]


class _Deadline(RoutingPart):
    """What every destination has."""

    name: Annotated[Name, AfterValidator(_addressable)] = Field(
        description="unique; no slash", examples=["contouring"]
    )
    give_up_after_days: StrictInt = Field(
        default=7, ge=1, le=90, description="how long a delivery is tried again"
    )

    @property
    def give_up_seconds(self) -> int:
        """How long a delivery is tried again."""
        return self.give_up_after_days * SECONDS_PER_DAY


class FolderPlace(RoutingPart):
    """A folder in which a program finds each series in a folder of its own, complete or not."""

    path: FolderPath = Field(description="an absolute path", examples=["/var/lib/contouring"])
    files: Literal["link", "copy"] = Field(
        default="link",
        description="`link`: the files of the archive, which nobody may change; `copy`: copies",
    )
    ready_marker: Annotated[str, MARKER, AfterValidator(_marker)] = Field(
        default="",
        description="name of an empty file that says that a series is complete; empty: none",
        examples=[".ready"],
    )


class NodeDestination(_Deadline):
    """Sends objects to a remote node by C-STORE, transcoded where the node needs it."""

    kind: Literal["node"]
    remote_node: Name = Field(description="name of the remote node", examples=["PLANNING"])


class FolderDestination(_Deadline, FolderPlace):
    """Puts each series into a folder, as a folder of its own."""

    kind: Literal["folder"]


class CeleryDestination(_Deadline):
    """Starts a task of Celery workers for each series, perhaps after its files are in a folder."""

    kind: Literal["celery"]
    task: CeleryName = Field(examples=["draw.tasks.process_series"])
    queue: CeleryName = Field(default="celery")
    place: FolderPlace | None = Field(
        default=None, description="folder that has the files before the task starts; null: none"
    )


class WebhookDestination(_Deadline):
    """Tells a receiver, by one of the webhooks, which series it is and what its header says."""

    kind: Literal["webhook"]
    webhook_id: StrictInt = Field(ge=1, le=2**63 - 1, description="number of the webhook")
    fields: tuple[
        Annotated[str, Field(max_length=MAX_SUBJECT_LENGTH), AfterValidator(_subject)], ...
    ] = Field(
        default=(),
        max_length=MAX_FIELDS,
        description="subjects whose values are told; they may name the patient",
        examples=[["Modality", "SeriesDescription"]],
    )


class PriorsDestination(_Deadline):
    """Retrieves earlier studies of the same patient from a remote node."""

    kind: Literal["priors"]
    remote_node: Name = Field(description="name of the remote node", examples=["ARCHIVE"])
    months: StrictInt = Field(
        default=24, ge=1, le=MAX_MONTHS, description="how long before the study they may lie"
    )
    modalities: tuple[Annotated[str, MODALITY], ...] = Field(
        default=(),
        max_length=MAX_MODALITIES,
        description="studies with one of these; empty: all",
        examples=[["CT", "MR"]],
    )
    most: StrictInt = Field(
        default=3,
        ge=1,
        le=MAX_PRIORS,
        description="of these, the newest so many; those that are here are not retrieved again",
    )


class GroupDestination(_Deadline):
    """Several destinations under one name."""

    kind: Literal["group"]
    mode: Literal["failover", "all", "any"] = Field(
        description="`failover`: the first in order that works; `all`: each of them; `any`: the one"
        " that has least to do"
    )
    members: tuple[Name, ...] = Field(min_length=1, max_length=MAX_MEMBERS)
    after_failures: StrictInt = Field(
        default=2, ge=1, le=100, description="failures in a row after which the next is taken"
    )
    after_seconds: StrictInt = Field(
        default=20, ge=5, le=86_400, description="or time after which nothing has arrived there"
    )
    back: StrictBool = Field(
        default=True,
        description="whether what comes later goes to an earlier member again when it works",
    )

    @field_validator("members")
    @classmethod
    def _members(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(message("must not name a destination twice"))
        return value


LeafDestination = (
    NodeDestination | FolderDestination | CeleryDestination | WebhookDestination | PriorsDestination
)
"""A destination that is no group."""

Destination = Annotated[LeafDestination | GroupDestination, Field(discriminator="kind")]


def expand(names: Sequence[str], by_name: dict[str, Destination]) -> list[str]:
    """Return names of destinations with the members of `all` groups in their place, each once.

    A name that nobody defines stays: whoever sends says that there is none.
    """
    found: dict[str, None] = {}
    for name in names:
        one = by_name.get(name)
        whole = isinstance(one, GroupDestination) and one.mode == "all"
        found.update(dict.fromkeys(one.members if whole else (name,)))  # type: ignore[union-attr]
    return list(found)


def retrieves(destination: Destination | None, by_name: Mapping[str, Destination]) -> bool:
    """Return whether a destination, or a member of a group, retrieves instead of sending."""
    if isinstance(destination, GroupDestination):
        return any(isinstance(by_name.get(name), PriorsDestination) for name in destination.members)
    return isinstance(destination, PriorsDestination)


def disagreements_of(destinations: Sequence[Destination]) -> Iterator[Problem]:
    """Yield what is wrong with destinations together, each with its place in the document."""
    names: set[str] = set()
    by_name = {one.name: one for one in destinations}
    for number, one in enumerate(destinations):
        place = ("destinations", number)
        if one.name.casefold() in names:
            yield (*place, "name"), message("is the name of an earlier destination")
        names.add(one.name.casefold())
        if one.name != one.name.strip():
            yield (*place, "name"), AT_ITS_ENDS
        if isinstance(one, GroupDestination):
            yield from _disagreements_of_group(one, place, by_name)


def _disagreements_of_group(
    group: GroupDestination, place: tuple[int | str, ...], by_name: Mapping[str, Destination]
) -> Iterator[Problem]:
    first = by_name.get(group.members[0])
    for position, name in enumerate(group.members):
        member = by_name.get(name)
        where = (*place, "members", position)
        if member is None or isinstance(member, GroupDestination):
            yield where, message("is no destination of this document, or a group")
        elif isinstance(member, PriorsDestination) is not isinstance(first, PriorsDestination):
            yield where, message("either all members retrieve earlier studies, or none does")
