"""What may stand in the document of the rules, and the words for what may not.

The evaluation is in test_evaluation; REST in tests/integration/api/test_routing.py.
"""

import pytest
from pydantic import ValidationError

from draw_api.models.wording import problems_of
from draw_shared.routing import document as rules
from draw_shared.routing.document import OPERATORS, Operator, RoutingDocument
from draw_shared.routing.presets import PRESETS
from draw_shared.routing.subjects import BESIDE, ValueKind, subject_of

MODALITY = {"subject": "Modality", "operator": "equals", "value": "CT"}


def of(when, **fields):
    return {"rules": [{"name": "a", "when": when, "destinations": ["x"], **fields}]}


def problems(given):
    with pytest.raises(ValidationError) as refused:
        RoutingDocument.read(given)
    return {p.field: p.message for p in problems_of(refused.value.errors(), given)}


def compare(subject, operator, *value, **fields):
    return {"subject": subject, "operator": operator, **fields} | (
        {"value": value[0]} if value else {}
    )


@pytest.mark.parametrize(
    ("when", "field", "words"),
    [
        (compare("Nix", "equals", "x"), "subject", "neither a keyword nor a tag"),
        (compare("", "equals", "x"), "subject", "neither a keyword nor a tag"),
        (compare("(7FE0,0010)", "is_empty"), "subject", "pixel data"),
        (compare("FloatPixelData", "is_empty"), "subject", "pixel data"),
        (compare("00020010", "equals", "x"), "subject", "no element of a data set"),
        (compare("00291010", "is_empty"), "subject", "named with its creator"),
        (compare("0028xx10[X]", "is_empty"), "subject", "no private element"),
        (compare("7FE1xx10[X]", "is_empty"), "subject", "no private element"),
        (compare("0029xx10[ ]", "is_empty"), "subject", "no private element"),
        (compare("0019xx0C[SIEMENS MR HEADER]", "contains", "1"), "operator", "does not fit"),
        (compare("00080002", "is_empty"), "subject", "dictionary does not have"),
        (compare("Modality.Rows", "is_empty"), "subject", "Modality is not a sequence"),
        (compare(".".join(["00400275"] * 9), "is_empty"), "subject", "8 elements"),
        (compare("x" * 201, "equals", "x"), "subject", "at most 200"),
        (compare("Modality", "<", "CT"), "operator", "does not fit Modality, which has equals"),
        (compare("Rows", "contains", "5"), "operator", "does not fit Rows"),
        (compare("StudyDate", "matches", "2026"), "operator", "does not fit StudyDate"),
        (compare("RequestAttributesSequence", "equals", "x"), "operator", "which has is_empty"),
        (compare("unreadable", "is_empty"), "operator", "which has equals"),
        (compare("Modality", "is", "CT"), "operator", "must be"),
        (compare("Modality", "equals"), "", "is needed"),
        (compare("Modality", "equals", 5), "value", "must be text"),
        (compare("Modality", "equals", ""), "value", "must not be empty"),
        (compare("Modality", "equals", "x" * 1025), "value", "at most 1024"),
        (compare("Modality", "equals", "\0"), "value", "nothing can keep"),
        (compare("Modality", "equals", "\ud800"), "value", "nothing can keep"),
        (compare("Modality", "is_empty", "yes"), "value", "true or false"),
        (compare("Modality", "is_one_of", "CT"), "value", "list with 1 to 200"),
        (compare("Modality", "is_one_of", []), "value", "list with 1 to 200"),
        (compare("Modality", "is_one_of", ["CT", 5]), "value", "must be text"),
        (compare("Rows", ">", "512"), "value", "must be a number"),
        (compare("Rows", "equals", True), "value", "must be a number"),
        (compare("Rows", ">", float("nan")), "value", "number that DICOM can have"),
        (compare("Rows", ">", float("inf")), "value", "number that DICOM can have"),
        (compare("Rows", ">", 10**400), "value", "number that DICOM can have"),
        (compare("StudyDate", ">", "20261399"), "value", "a date such as"),
        (compare("StudyTime", ">", "2500"), "value", "a time such as"),
        (compare("AcquisitionDateTime", ">", "1"), "value", "a date and time such as"),
        (compare("PatientAge", ">", "18"), "value", "an age such as"),
        (compare("unreadable", "equals", "yes"), "value", "true or false"),
        (compare("reason", "equals", "done"), "value", "one of association_ended, quiet, proved"),
        (compare("Modality", "matches", "("), "value", "not a regular expression"),
        (compare("Modality", "matches", "(?=x)"), "value", "not a regular expression"),
        (compare("Modality", "matches", "((x{99}){99}){99}"), "value", "not a regular expression"),
        (compare("Modality", "matches", r"(\pL{30}){30}"), "value", "not a regular expression"),
        (compare("Modality", "matches", "x" * 501), "value", "at most 500"),
        (compare("Modality", "equals", "x", of="some"), "of", "must be"),
        (compare("Modality", "equals", "x", case_sensitive=1), "case_sensitive", "true or false"),
        (compare("Modality", "equals", "x", values="any"), "values", "not known"),
        ({"all": []}, "all", "must not be empty"),
        ({"all": [MODALITY], "any": [MODALITY]}, "any", "not known"),
        ({"any": [MODALITY] * 101}, "any", "at most 100"),
        ({"any": [5]}, "any.0", "must be a condition"),
        ({"any": [MODALITY, {"not": {}}]}, "any.1.not", "must be a condition"),
        ({"not": compare("Rows", "equals", "x")}, "not.value", "must be a number"),
        (5, "", "must be a condition"),
        ({"time_of_day": {"from": "7:00", "to": "8:00"}}, "time_of_day.from", "such as 18:30"),
        (
            {"time_of_day": {"from": "07:00", "to": "07:00", "zone": "UTC"}},
            "time_of_day.to",
            "another time",
        ),
        (
            {"time_of_day": {"from": "07:00", "to": "08:00", "zone": "../UTC"}},
            "time_of_day.zone",
            "name of a time zone",
        ),
        (
            {"time_of_day": {"from": "07:00", "to": "08:00", "zone": "UTC", "days": ["mon"]}},
            "time_of_day.days.0",
            "must be",
        ),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(when, field, words):
    found = problems(of(when))
    place = f"rules.0.when.{field}".rstrip(".")
    assert place in found, found
    assert words in found[place]
    assert len(found) == 1 or "time_of_day" in field


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"rules": [{"name": "a", "stop": True}] * 201}, "rules", "at most 200"),
        ({"rules": [{"name": "a", "stop": True}, {"name": "A", "stop": True}]}, "rules.1.name", ""),
        ({"rules": [{"name": "a"}]}, "rules.0", "needs a destination, unless the rule stops"),
        ({"rules": [{"stop": True}]}, "rules.0.name", "is needed"),
        ({"rules": [{"name": "", "stop": True}]}, "rules.0.name", "must not be empty"),
        ({"rules": [{"name": "a\n", "stop": True}]}, "rules.0.name", "one line"),
        (of(None, destinations=["x", "x"]), "rules.0.destinations", "twice"),
        (of(None, destinations=["x"] * 21), "rules.0.destinations", "at most 20"),
        (of(None, trigger="patient_complete"), "rules.0.trigger", "must be"),
        (of(None, active="yes"), "rules.0.active", "true or false"),
        ({"rule": []}, "rule", "not known"),
        ([], "body", "must be an object"),
    ],
)
def test_what_is_wrong_with_rules_is_said_beside_them(given, field, words):
    found = problems(given)
    assert words in found[field]


def nested(depth):
    when = MODALITY
    for _ in range(depth):
        when = {"not": when}
    return when


def test_depth_number_and_size_are_limited():
    RoutingDocument.read(of(nested(rules.MAX_DEPTH - 1)))
    assert "8 deep" in problems(of(nested(rules.MAX_DEPTH)))["rules.0.when"]
    assert problems(of(nested(10_000))) == {"body": "is nested too deeply"}
    many = [{**of({"any": [MODALITY] * 100})["rules"][0], "name": str(n)} for n in range(20)]
    assert "2000 conditions" in problems({"rules": many})["rules"]
    expressions = {"any": [compare("Modality", "matches", f"x{n}") for n in range(100)]}
    three = [{**of(expressions)["rules"][0], "name": str(n)} for n in range(3)]
    assert "200 regular expressions" in problems({"rules": three})["rules"]
    huge = [{"name": "x" * 10_000_000, "stop": True}]
    assert "characters" in problems({"rules": huge})["body"]


def test_every_kind_of_subject_takes_its_operators_and_no_others():
    subjects = ["Modality", "Rows", "StudyDate", "StudyTime", "AcquisitionDateTime", "PatientAge"]
    subjects += ["RequestAttributesSequence", "RedPaletteColorLookupTableData", *BESIDE]
    values = {
        ValueKind.TEXT: "quiet",
        ValueKind.NUMBER: 5,
        ValueKind.DATE: "20261130",
        ValueKind.TIME: "1830",
        ValueKind.MOMENT: "20261130183000",
        ValueKind.AGE: "018Y",
        ValueKind.FLAG: True,
        ValueKind.PRESENCE: None,
    }
    for subject in subjects:
        kind = subject_of(subject).kind
        for operator in Operator:
            value = None if operator is Operator.IS_EMPTY else values[kind]
            if operator is Operator.IS_ONE_OF:
                value = [value]
            given = of(compare(subject, operator, value))
            if operator in OPERATORS[kind]:
                RoutingDocument.read(given)
            else:
                assert "rules.0.when.operator" in problems(given)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("SeriesDescription", "SeriesDescription"),
        ("0008103E", "SeriesDescription"),
        ("(0008,103e)", "SeriesDescription"),
        (
            "00400275.ScheduledProcedureStepID",
            "RequestAttributesSequence.ScheduledProcedureStepID",
        ),
        ("60020010", "60020010"),
        ("0019xx0c[SIEMENS MR HEADER ]", "0019xx0C[SIEMENS MR HEADER]"),
        ("calling_ae", "calling_ae"),
    ],
)
def test_an_element_has_one_name_however_it_is_written(written, name):
    assert subject_of(written).name == name


def test_a_document_that_was_stored_is_read_again_the_same():
    document = RoutingDocument(rules=tuple(preset.rule for preset in PRESETS))
    assert RoutingDocument.read(document.stored()) == document
    window = {"time_of_day": {"from": "22:00", "to": "06:00", "zone": "Europe/Vienna"}}
    document = RoutingDocument.read(of({"any": [window, {"not": MODALITY}]}))
    assert RoutingDocument.read(document.stored()) == document
