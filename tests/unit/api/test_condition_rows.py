"""Conditions as rows of a form: what rows say is exactly what the document says."""

import json
import random

import pytest
from starlette.datastructures import FormData

from draw_api.handlers.web.condition_rows import (
    ConditionList,
    ConditionRow,
    condition_in,
    list_in,
    list_of,
    text_of,
)
from draw_api.handlers.web.visitor import CheckedForm
from draw_shared.contracts.failures import Invalid
from draw_shared.routing.document import RoutingRule
from support.routing_generated import condition

CT = {"subject": "Modality", "operator": "equals", "value": "CT"}
MANY = {"subject": "instances", "operator": ">", "value": 2}


def stored(condition):
    rule = RoutingRule.model_validate({"name": "a", "when": condition, "stop": True})
    return rule.model_dump(mode="json", by_alias=True)["when"]


def form_of(found):
    """Return what a browser sends of rows."""
    fields = [("joined", found.joined)]
    for place, row in enumerate(found.rows):
        fields += [(f"{n}.{place}", getattr(row, n)) for n in ("subject", "operator", "value")]
        fields += [(f"of.{place}", row.of)]
        fields += [(f"not.{place}", "on")] if row.negated else []
        fields += [(f"case_sensitive.{place}", "on")] if row.case_sensitive else []
    return CheckedForm(FormData(fields))


@pytest.mark.parametrize(
    "condition",
    [
        None,
        CT,
        {"not": CT},
        {"all": [CT]},
        {"any": [CT, {"not": MANY}]},
        {"all": [MANY, CT | {"case_sensitive": True}, CT | {"of": "all"}]},
        CT | {"operator": "is_one_of", "value": ["CT", "MR"]},
        {"subject": "KVP", "operator": "is_one_of", "value": [80, 120.5, -1e-9]},
        {"subject": "PatientID", "operator": "is_empty", "value": False},
        {"subject": "PatientID", "operator": "is_empty"},
        {"subject": "unreadable", "operator": "equals", "value": True},
        {"subject": "SeriesDescription", "operator": "matches", "value": "^a,b|c$"},
    ],
    ids=str,
)
def test_rows_say_what_the_document_says(condition):
    kept = stored(condition)
    shown = list_of(kept)
    typed = list_in(form_of(shown))
    assert typed.stored(kept) == kept
    again = typed.stored(None)
    if isinstance(kept, dict) and set(kept) == {"all"} and len(kept["all"]) == 1:
        assert again == kept["all"][0]
    else:
        assert again == kept
    assert stored(condition_in(text_of(kept))) == kept


@pytest.mark.parametrize(
    "condition",
    [
        {"all": [CT, {"any": [CT, MANY]}]},
        {"not": {"all": [CT, MANY]}},
        {"not": {"not": CT}},
        {"time_of_day": {"from": "22:00", "to": "06:00", "zone": "UTC"}},
        CT | {"operator": "is_one_of", "value": ["CT, MR", "US"]},
        CT | {"value": " CT"},
        CT | {"value": "C\nT"},
    ],
    ids=str,
)
def test_what_rows_cannot_say_is_text(condition):
    kept = stored(condition)
    assert list_of(kept) is None
    assert stored(condition_in(text_of(kept))) == kept


@pytest.mark.parametrize(
    "strange",
    [1, "x", [], {}, {"all": []}, {"all": "x"}, {"all": [1]}, {"not": 1}, {"all": [CT], "any": []},
     CT | {"more": 1}, CT | {"value": {"a": 1}}, CT | {"value": [None]}, CT | {"subject": 7}],
    ids=str,
)  # fmt: skip
def test_what_is_no_condition_is_no_rows(strange):
    assert list_of(strange) is None


@pytest.mark.parametrize("seed", range(5))
def test_any_condition_survives_the_form(seed):
    pick = random.Random(seed)
    flat = 0
    for _ in range(100):
        kept = stored(condition(pick))
        found = list_of(kept)
        if found is not None:
            flat += 1
            assert list_in(form_of(found)).stored(kept) == kept
        assert stored(condition_in(text_of(kept))) == kept
    assert 20 < flat < 90


def test_empty_rows_are_none_and_problems_stand_beside_the_rows_that_were_typed():
    rows = [ConditionRow(), ConditionRow(subject="Modality"), ConditionRow(value="x")]
    found = ConditionList("any", rows)
    assert [one["subject"] for one in found.stored(None)["any"]] == ["Modality", ""]
    assert found.row_of(["any", "0", "value"]) == (1, "value")
    assert found.row_of(["any", "1", "not", "subject"]) == (2, "subject")
    assert ConditionList("all", rows[:2]).row_of(["operator"]) == (1, "operator")
    for elsewhere in (["any"], ["any", "5", "value"], ["any", "x", "value"], ["other"], []):
        assert found.row_of(elsewhere) is None
    assert ConditionList("all", [ConditionRow()]).stored(None) is None


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "1" * 5000, '{"a": }'])
def test_what_is_not_json_is_said(text):
    with pytest.raises(Invalid) as caught:
        condition_in(text)
    assert caught.value.problems[0].field == "when"
    assert "is not JSON" in caught.value.problems[0].message


def test_values_that_are_no_numbers_stay_as_they_were_typed():
    typed = ("", "two", "1e", "0x10", "--1", "1_000", "9" * 400, "NaN", "Infinity")
    for text in typed:
        row = ConditionRow(subject="instances", operator=">", value=text)
        assert ConditionList("all", [row]).stored(None)["value"] == text
    assert (
        json.dumps(
            ConditionList("all", [ConditionRow(subject="KVP", value="-1.50")]).stored(None)["value"]
        )
        == "-1.5"
    )
