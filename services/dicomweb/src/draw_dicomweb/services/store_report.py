"""The answer to a store request: what became of each object (PS3.18 I.1)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from draw_dicomweb.models import StoreOutcome

RETRIEVE_URL: Final = "00081190"
FAILURE_REASON: Final = "00081197"
FAILED: Final = "00081198"
REFERENCED: Final = "00081199"
OTHER_FAILURES: Final = "0008119A"
"""Failures of parts that did not say which object they are."""
REFERENCED_CLASS: Final = "00081150"
REFERENCED_INSTANCE: Final = "00081155"

Element = Mapping[str, Any]
Address = Callable[[Sequence[str]], str]
"""Returns the address of a study, or of an instance, from its UIDs."""


def store_report(
    outcomes: Sequence[StoreOutcome], study: str, address_of: Address
) -> Mapping[str, Element]:
    """Return the response module in the DICOM JSON Model; `study` is that of the request."""
    stored = [one for one in outcomes if one.stored]
    studies = {one.study_instance_uid for one in stored}
    study = study or (studies.pop() if len(studies) == 1 else "")
    named = [one for one in outcomes if not one.stored and one.sop_instance_uid]
    nameless = [one for one in outcomes if not one.stored and not one.sop_instance_uid]
    report: dict[str, Element] = {
        RETRIEVE_URL: _element("UR", address_of([study])) if study else {"vr": "UR"}
    }
    _add(report, FAILED, ({**_reference(one), **_failure(one)} for one in named))
    _add(
        report,
        REFERENCED,
        ({**_reference(one), RETRIEVE_URL: _retrieve(one, address_of)} for one in stored),
    )
    _add(report, OTHER_FAILURES, map(_failure, nameless))
    return report


def status_of(outcomes: Iterable[StoreOutcome], *, too_large: bool) -> HTTPStatus:
    """Return the status of a complete request (PS3.18 table 10.5.3-1)."""
    found = {one.stored for one in outcomes}
    if found == {True}:
        return HTTPStatus.OK
    if True in found:
        return HTTPStatus.ACCEPTED
    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_large else HTTPStatus.CONFLICT


def _reference(one: StoreOutcome) -> dict[str, Element]:
    return {
        REFERENCED_CLASS: _element("UI", one.sop_class_uid),
        REFERENCED_INSTANCE: _element("UI", one.sop_instance_uid),
    }


def _failure(one: StoreOutcome) -> dict[str, Element]:
    return {FAILURE_REASON: _element("US", int(one.status))}


def _retrieve(one: StoreOutcome, address_of: Address) -> Element:
    uids = one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid
    return _element("UR", address_of(uids))


def _element(vr: str, value: str | int) -> Element:
    return {"vr": vr, "Value": [value]}


def _add(report: dict[str, Element], tag: str, items: Iterable[Mapping[str, Element]]) -> None:
    if found := list(items):
        report[tag] = {"vr": "SQ", "Value": found}
