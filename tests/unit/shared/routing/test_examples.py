"""The worked examples of docs/routing.md, applied to series that they are for and to others."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from draw_shared.routing.destinations import expand
from draw_shared.routing.document import RoutingDocument, Trigger
from draw_shared.routing.evaluation import Evaluator
from draw_shared.routing.facts import ArrivalFacts, RoutingFacts
from draw_shared.routing.subjects import split_values

PAGE = Path(__file__).parents[4] / "docs" / "routing.md"
EXAMPLES = re.findall(
    r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8").split("## Worked examples")[1], re.DOTALL
)
AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
SLICES = ArrivalFacts(calling_ae=("CT_1",), instances=300)


def sent(
    example,
    arrival=SLICES,
    *,
    unreadable=False,
    trigger=Trigger.SERIES_COMPLETE,
    **elements,
):
    document = RoutingDocument.read(json.loads(EXAMPLES[example - 1]))
    values = {name: split_values(value, "CS") for name, value in elements.items()}
    facts = RoutingFacts(trigger, values | arrival.values(), AT, unreadable=unreadable)
    decision = Evaluator(document).evaluate(facts)
    return expand(decision.destinations, {one.name: one for one in document.destinations})


def test_there_are_six():
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize(
    ("elements", "unreadable", "destinations"),
    [
        ({"Modality": "CT", "SeriesDescription": "Becken 3.0"}, False, ["contouring"]),
        ({"Modality": "CT", "SeriesDescription": "Topogram 0.6"}, False, []),
        ({"Modality": "CT", "ImageType": "LOCALIZER"}, False, []),
        ({"Modality": "CT", "ImageType": "ORIGINAL\\PRIMARY\\AXIAL"}, False, ["contouring"]),
        ({"Modality": "MR"}, False, []),
        ({"Modality": "CT"}, True, ["desk"]),
    ],
)
def test_planning_cts_without_topograms(elements, unreadable, destinations):
    assert sent(1, unreadable=unreadable, **elements) == destinations


def test_contours_go_to_a_group_with_failover():
    assert sent(2, Modality="RTSTRUCT") == ["planning"]
    assert sent(2, Modality="CT") == []


def test_one_scanner_goes_to_three():
    assert sent(3) == ["segmentation", "chain", "dashboard"]
    assert sent(3, ArrivalFacts(calling_ae=("CT_2",))) == []


def test_rt_objects_go_to_each_of_a_group():
    assert sent(4, Modality="RTDOSE") == ["archive 1", "archive 2"]
    assert sent(4, Modality="CT") == []


def test_everything_but_tests():
    assert sent(5, PatientID="4711") == ["second archive"]
    assert sent(5, PatientID="test-1") == []


def test_earlier_studies_come_once_for_a_whole_study():
    whole = {"trigger": Trigger.STUDY_COMPLETE}
    assert sent(6, Modality="CT", **whole) == ["earlier studies"]
    assert sent(6, Modality="MR", **whole) == []
    assert sent(6, ArrivalFacts(calling_ae=("CT_2",)), Modality="CT", **whole) == []
    assert sent(6, Modality="CT") == []
