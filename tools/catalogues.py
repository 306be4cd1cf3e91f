"""Brings the catalogues of the page up to date with the texts in the code.

`python -m tools.catalogues` (`make catalogues`) adds new texts to each catalogue, without a
translation, and drops those that the code has no longer. Translators then fill in what is empty;
a test fails until they have.
"""

import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any, Final, get_args

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import write_po
from pydantic import BaseModel

from draw_api.handlers.web.forms import texts_of
from draw_api.handlers.web.languages import CATALOGUES, SAID, catalogue
from draw_api.handlers.web.words import spelled
from draw_api.models.batch_queries import Found, Here, Wanted
from draw_api.models.config import reference
from draw_api.models.conflicts import ConflictKind
from draw_api.models.control import ControlAction, DesiredState
from draw_api.models.jobs import JobState
from draw_api.models.languages import LANGUAGES, SOURCE_LANGUAGE
from draw_api.models.nodes import Day, NodeSettings
from draw_api.models.objects import Kind
from draw_api.models.peers import AllowedAeTitleSettings, Proposal
from draw_api.models.queries import Level, StudyDates
from draw_api.models.standing_queries import RunState
from draw_api.models.storage import Hold
from draw_api.models.users import NewToken, NewUser, PasswordChange, PasswordReset, UserSettings
from draw_api.models.webhooks import DeliveryState, NewWebhook
from draw_qr_worker.models import JobKind
from draw_shared.access.principals import Role
from draw_shared.contracts.transaction import TransactionKind, TransactionOutcome
from draw_shared.contracts.validation_words import WORDS
from draw_shared.dicom.network.rights import Right
from draw_shared.dicom.network.service import AssociationOutcome
from draw_shared.dicom.network.statuses import DimseStatus, describe
from draw_shared.routing.destinations import Destination, FolderPlace
from draw_shared.runtime.lifecycle import State

ROOT: Final = Path(__file__).resolve().parents[1]
TRANSLATED: Final = tuple(one for one in LANGUAGES if one != SOURCE_LANGUAGE)
SOURCES: Final = (*sorted(ROOT.glob("services/*/src")), ROOT / "shared" / "src")
METHODS: Final = [("**.py", "python"), ("**.jinja", "jinja2.ext.babel_extract")]
OPTIONS: Final = {"**.jinja": {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}}
SHOWS: Final = {"_": None, "gettext": None, "N_": None, "ngettext": (1, 2)}
SAYS: Final = {"message": None}
FORMS: Final[tuple[type[BaseModel], ...]] = (
    NodeSettings,
    AllowedAeTitleSettings,
    Proposal,
    NewToken,
    NewUser,
    PasswordChange,
    PasswordReset,
    UserSettings,
    NewWebhook,
    Hold,
    FolderPlace,
    *get_args(get_args(Destination)[0]),
)
"""The models whose fields are those of a form."""
KINDS: Final[tuple[type[StrEnum], ...]] = (
    TransactionKind,
    TransactionOutcome,
    Role,
    Right,
    ConflictKind,
    ControlAction,
    JobKind,
    State,
)
"""What the page shows as words."""
CHOICES: Final[tuple[Any, ...]] = (
    JobState, Found, Here, Wanted, DesiredState, Day, Kind, Level, StudyDates, DeliveryState,
    RunState,
)  # fmt: skip
"""The same, where the values are no class."""
NAMES: Final = (
    "batch", "asking", "retrieving", "arriving", "sending", "over", "not begun",
    "expected", "arrived", "already_here", "remaining", "completed", "failed", "warning", "bytes",
    "bytes_per_second", "objects_per_second", "eta_seconds", "phase", "missing",
    "missing_sop_instance_uids", "missing_unnamed", "node_said", "not_asked_for",
    "not_asked_for_study_instance_uids", "not_fetched", "not_fetched_study_instance_uids",
    "answered", "found", "truncated", "matches", "requests", "completeness", "reachable",
    "association_ms", "echo_ms", "max_pdu_bytes", "implementation_class_uid",
    "implementation_version", "echo", "find", "move", "get", "store", "at", "method",
    "destination", "study_instance_uid", "series_instance_uid", "sop_instance_uids",
    "patient_id", "accession_number", "item", "retry_of", "query_id", "batch_query_id", "limit",
    "level", "keys", "study_find", "study_move", "study_get", "patient_find", "patient_move",
    "patient_get", "patient_study_find", "patient_study_move", "patient_study_get",
)  # fmt: skip
"""Names in the documents of jobs and tests of nodes, and what a badge says by itself."""
BADGE: Final = re.compile(r'badge\("([\w ]+)"(?:\)| if )')
VALUE: Final = re.compile(r"\{(\w+)\}")
LINE_WIDTH: Final = 100
HEADER: Final = """\
# The texts of the page in {name}. `make catalogues` adds new texts and drops old ones.
msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\\n"
"Language: {language}\\n"
"Plural-Forms: {plural_forms}\\n"

"""
"""No date and no name: the history of the file has them, and two branches may both write it."""


def source_texts() -> Catalog:
    """Return all texts of the code, as a catalogue without translations."""
    found = Catalog(project="DRAW DICOM", charset="utf-8", header_comment="")
    for root in SOURCES:
        for keywords, methods, context in ((SHOWS, METHODS, None), (SAYS, METHODS[:1], SAID)):
            for _, _, text, comments, _ in extract_from_dir(
                root, methods, OPTIONS, keywords=keywords, comment_tags=("Translators:",)
            ):
                found.add(text, auto_comments=comments, context=context)
    for text in dict.fromkeys(_texts_of_models()):
        if text:
            found.add(text)
    for text in dict.fromkeys(_texts_said()):
        found.add(text, context=SAID)
    return found


def _texts_said() -> Iterator[str]:
    """Yield what `message` is not called for: values within other texts, and texts by rules."""
    for text in WORDS.values():
        yield VALUE.sub(r"%(\1)s", text)
    for kind in (Role, Right, AssociationOutcome):
        yield from map(str, kind)
    yield from get_args(JobState)
    yield from map(describe, DimseStatus)


def _texts_of_models() -> Iterator[str]:
    for model in FORMS:
        yield from texts_of(model)
    for section in reference().sections:
        yield from (section.title, section.help)
        for setting in section.fields:
            yield from (setting.label, setting.label_without_unit, setting.help)
    for kind in KINDS:
        yield from map(spelled, kind)
    for choices in CHOICES:
        yield from (spelled(one.lower()) for one in get_args(choices) if one)
    yield from map(spelled, NAMES)
    for template in ROOT.glob("services/*/src/**/*.jinja"):
        yield from map(spelled, BADGE.findall(template.read_text(encoding="utf-8")))


def written(language: str, texts: Catalog) -> tuple[bytes, int]:
    """Return the file of a language with these texts, and how many of them are untranslated."""
    path = CATALOGUES / f"{language}.po"
    known = catalogue(language) if path.exists() else Catalog(locale=language)
    known.update(texts, no_fuzzy_matching=True)
    known.obsolete.clear()
    header = HEADER.format(
        name=known.locale.english_name if known.locale else language,
        language=language,
        plural_forms=known.plural_forms,
    )
    file = BytesIO(header.encode())
    file.seek(0, SEEK_END)
    write_po(file, known, width=LINE_WIDTH, no_location=True, omit_header=True, sort_output=True)
    missing = sum(1 for entry in known if entry.id and not all(forms_of(entry)))
    return file.getvalue(), missing


def forms_of(entry: Message) -> tuple[str, ...]:
    """Return the translation of a text, or its translations for each plural form."""
    return (entry.string,) if isinstance(entry.string, str) else tuple(entry.string or ("",))


def main() -> int:
    """Update every catalogue; say how many texts have no translation."""
    texts = source_texts()
    for language in TRANSLATED:
        file, missing = written(language, texts)
        (CATALOGUES / f"{language}.po").write_bytes(file)
        sys.stdout.write(f"{language}: {len(texts)} texts, {missing} without a translation\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
