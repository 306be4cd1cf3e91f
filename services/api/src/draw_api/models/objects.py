"""The content of stored objects: images, readable tables, elements."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from draw_api.models.archive import Study
from draw_api.models.paging import Answer

MAX_NAME_LENGTH: Final = 40
"""Letters of a patient's name in the name of a file."""
Kind = Literal["image", "dose", "structures", "plan", "report", "other"]
MAX_FRAMES = 100_000
MAX_EDGE = 2048


@dataclass(frozen=True, slots=True)
class StoredSlice:
    """One instance of a series, as a viewer steps through it."""

    sop_instance_uid: str
    instance_number: int | None
    frames: int
    sop_class_uid: str
    transfer_syntax_uid: str
    size_bytes: int
    header_damage: str = ""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object's path below the storage root, and its name in an archive of files."""

    path: str
    name: str
    size_bytes: int


def archive_names(studies: Sequence[Study]) -> list[str]:
    """Return a name of each study for files and folders: of patient, date and modalities.

    It has letters, digits and underscores only, and is different for each.
    """
    seen: Counter[str] = Counter()
    names = []
    for study in studies:
        groups = [group for group in study.patient.name.split("=") if group]
        family, _, given = (groups or [""])[0].partition("^")
        who = _plain(f"{family} {given.partition('^')[0]}")[:MAX_NAME_LENGTH].strip("_")
        day = study.study_date.isoformat() if study.study_date else ""
        parts = (who or _plain(study.patient.patient_id)[:MAX_NAME_LENGTH].strip("_"), day)
        kinds = "_".join(study.modalities[:3])
        name = "_".join(part for part in (*parts, _plain(kinds)[:MAX_NAME_LENGTH]) if part)
        name = name or "study"
        seen[name.casefold()] += 1
        number = seen[name.casefold()]
        names.append(name if number == 1 else f"{name}__{number}")
    return names


def _plain(text: str) -> str:
    """Return text of which every file system takes each character, and no shell minds any."""
    composed = unicodedata.normalize("NFC", text)
    kept = "".join(c if c.isalnum() or c == "-" else "_" for c in composed)
    return "_".join(part for part in kept.split("_") if part)


@dataclass(frozen=True, slots=True)
class Rendering:
    """How to render a frame; without centre and width, as the object itself suggests."""

    frame: int = 1
    center: float | None = None
    width: float | None = None
    edge: int = 1024
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame in a form that a browser displays."""

    content: bytes
    media_type: str


class Table(Answer):
    """A readable table; every cell is plain text."""

    title: str
    columns: list[str]
    rows: list[list[str]]


class ObjectFacts(Answer):
    """What an object contains and its range of values."""

    kind: Kind
    frames: int = Field(default=0, description="0 when there is nothing to be rendered")
    rows: int = 0
    columns: int = 0
    center: float | None = Field(default=None, description="window suggested by the object")
    width: float | None = None
    low: float = Field(default=0.0, description="smallest value of the frame; of dose 0")
    high: float = Field(
        default=0.0, description="largest value of the frame; of dose the largest of all frames"
    )
    unit: str = Field(default="", examples=["HU"])
    windowed: bool = Field(default=False, description="whether window and level mean anything")
    edges: list[str] = Field(
        default=[],
        description="directions of the patient at the left, right, top and bottom edge",
        examples=[["R", "L", "A", "P"]],
    )
    location: str = Field(default="", description="where the frame lies", examples=["z -35.0 mm"])
    thickness_mm: float | None = Field(default=None, description="slice thickness")
    facts: list[tuple[str, str]] = Field(default=[], description="name and value")
    tables: list[Table] = Field(default=[], description="for people to read")
    trouble: str = Field(default="", description="why it cannot be rendered, in words")


class Element(Answer):
    """One data element; `depth` counts the sequences around it."""

    depth: int
    tag: str = Field(examples=["(0010,0010)"])
    vr: str = Field(examples=["PN"])
    name: str = Field(examples=["Patient's Name"])
    value: str = Field(description="at most 256 characters of it")
    is_sequence: bool


class Elements(Answer):
    """The elements of an object, up to a limit."""

    items: list[Element]
    truncated: bool
    header_damage: str = Field(
        default="", description="in what the header breaks the rules of DICOM; empty: in nothing"
    )
