"""What may stand in the document of the rules, and the words for what may not.

The evaluation is in test_evaluation; REST in tests/integration/api/test_routing.py.
"""

import pytest
from pydantic import ValidationError

from draw_shared.contracts.validation_words import problems_of
from draw_shared.routing import document as rules
from draw_shared.routing import expressions
from draw_shared.routing.destinations import expand, retrieves
from draw_shared.routing.document import OPERATORS, Operator, RoutingDocument
from draw_shared.routing.presets import PRESETS
from draw_shared.routing.subjects import BESIDE, ValueKind, subject_of
from support.routing_documents import with_destinations

MODALITY = {"subject": "Modality", "operator": "equals", "value": "CT"}


def of(when, **fields):
    return with_destinations(
        {"rules": [{"name": "a", "when": when, "destinations": ["x"], **fields}]}
    )


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
        (compare("Rows", "equals", 65_536), "value", "from 0 to 65535, as Rows is"),
        (compare("Rows", ">", -1), "value", "from 0 to 65535"),
        (compare("Rows", "is_one_of", [512, 1.5]), "value.1", "a whole number, as Rows is"),
        (compare("InstanceNumber", "<", 2**31), "value", "from -2147483648 to 2147483647"),
        (compare("PixelPaddingValue", "equals", -32_769), "value", "from -32768 to 65535"),
        (compare("StudyDate", ">", "20261399"), "value", "a date such as"),
        (compare("StudyTime", ">", "2500"), "value", "a time such as"),
        (compare("AcquisitionDateTime", ">", "1"), "value", "a date and time such as"),
        (compare("PatientAge", ">", "18"), "value", "an age such as"),
        (compare("Modality", "equals", "X" * 17), "value", "at most 16 characters, as Modality"),
        (compare("Modality", "is_one_of", ["CT", "X" * 17]), "value.1", "at most 16"),
        (compare("SeriesDescription", "contains", "x" * 65), "value", "at most 64"),
        (compare("calling_ae", "starts_with", "x" * 17), "value", "at most 16"),
        (compare("Modality", "not_equals", "CT\\MR"), "value", "no backslash"),
        ({"not": {"any": [compare("SOPClassUID", "equals", "no")]}}, "not.any.0.value", "a UID"),
        (compare("SOPClassUID", "equals", "1.2."), "value", "must be a UID such as"),
        (compare("SOPClassUID", "starts_with", "1.2-"), "value", "part of a UID"),
        (compare("unreadable", "equals", "yes"), "value", "true or false"),
        (compare("reason", "equals", "done"), "value", "one of association_ended, quiet, proved"),
        (compare("Modality", "matches", "("), "value", "not a regular expression"),
        (compare("Modality", "matches", "(?=x)"), "value", "not a regular expression"),
        (compare("Modality", "matches", "((x{99}){99}){99}"), "value", "not a regular expression"),
        (compare("Modality", "matches", r"(\pL{30}){30}"), "value", "not a regular expression"),
        (compare("Modality", "matches", "x" * 501), "value", "at most 500"),
        # It would fit if capital and small letters differed.
        (compare("Modality", "matches", "([\u0100-\u2000]){358}"), "value", "not a regular"),
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


@pytest.mark.parametrize(
    "when",
    [
        compare("Modality", "equals", "X" * 16),
        compare("Modality", "matches", r"^(CT|MR)\\?[A-Z]{0,40}$"),
        compare("SOPClassUID", "starts_with", "1.2.840."),
        compare("SOPClassUID", "equals", "1.2.840.10008.1.2"),
        compare("0019xx0C[SIEMENS MR HEADER]", "is_empty"),
        compare("0019xxFF[NOBODY]", "contains", "x" * 100),
        compare("PatientComments", "contains", "a\\b" + "x" * 100),
        compare("address", "contains", "x" * 100),
    ],
)
def test_values_that_the_vr_can_have(when):
    RoutingDocument.read(of(when))


def test_a_document_in_force_is_read_whatever_values_an_earlier_release_took():
    RoutingDocument.model_validate(of(compare("Modality", "equals", "X" * 17)))


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
    assert RoutingDocument.model_validate(document.stored()) == document
    window = {"time_of_day": {"from": "22:00", "to": "06:00", "zone": "Europe/Vienna"}}
    document = RoutingDocument.read(of({"any": [window, {"not": MODALITY}]}))
    assert RoutingDocument.read(document.stored()) == document


NODE = {"kind": "node", "name": "planning", "remote_node": "PLANNING"}
FOLDER = {"kind": "folder", "name": "contouring", "path": "/var/lib/contouring"}
CELERY = {"kind": "celery", "name": "chain", "task": "draw.tasks.process"}
WEBHOOK = {"kind": "webhook", "name": "told", "webhook_id": 1, "fields": ["Modality"]}
GROUP = {"kind": "group", "name": "either", "mode": "failover", "members": ["planning"]}
PRIORS = {"kind": "priors", "name": "earlier", "remote_node": "ARCHIVE", "modalities": ["CT"]}
EVERY = (NODE, FOLDER, CELERY | {"place": {"path": "/srv/a"}}, WEBHOOK, PRIORS, GROUP)


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"kind": "fax", "name": "a"}, "destinations.0", "'folder'"),
        (NODE | {"name": ""}, "destinations.0.name", "not be empty"),
        (NODE | {"name": "a/b"}, "destinations.0.name", "no slash"),
        (NODE | {"name": ".."}, "destinations.0.name", "no slash"),
        (NODE | {"colour": "red"}, "destinations.0.colour", "not known"),
        (NODE | {"give_up_after_days": 0}, "destinations.0.give_up_after_days", "at least 1"),
        (FOLDER | {"path": "var/lib"}, "destinations.0.path", "absolute path"),
        (FOLDER | {"path": "/var/.."}, "destinations.0.path", "below the root"),
        (FOLDER | {"files": "move"}, "destinations.0.files", "link"),
        (FOLDER | {"ready_marker": "a/b"}, "destinations.0.ready_marker", "file name"),
        (FOLDER | {"ready_marker": ".."}, "destinations.0.ready_marker", "another name"),
        (FOLDER | {"ready_marker": "1.dcm"}, "destinations.0.ready_marker", "another name"),
        (CELERY | {"task": " "}, "destinations.0.task", "not be empty"),
        (CELERY | {"queue": "a\tb"}, "destinations.0.queue", "one line"),
        (WEBHOOK | {"fields": ["Nix"]}, "destinations.0.fields.0", "neither a keyword"),
        (PRIORS | {"modalities": ["ct"]}, "destinations.0.modalities.0", "capital letters"),
        (PRIORS | {"modalities": ["CT\\MR"]}, "destinations.0.modalities.0", "capital letters"),
        (PRIORS | {"months": 0}, "destinations.0.months", "at least 1"),
        (PRIORS | {"months": 601}, "destinations.0.months", "at most 600"),
        (PRIORS | {"most": 51}, "destinations.0.most", "at most 50"),
        (PRIORS | {"remote_node": ""}, "destinations.0.remote_node", "not be empty"),
        (GROUP | {"members": []}, "destinations.0.members", "not be empty"),
        (GROUP | {"members": ["a", "a"]}, "destinations.0.members", "twice"),
        (GROUP, "destinations.0.members.0", "no destination of this document"),
        (GROUP | {"members": ["either"]}, "destinations.0.members.0", "or a group"),
    ],
)
def test_a_destination_is_refused_in_words(wrong, field, words):
    found = problems({"destinations": [wrong]})
    assert words in found[field], found


def test_destinations_are_named_once_and_known():
    found = problems(
        {
            "destinations": [NODE, FOLDER | {"name": "Planning"}],
            "rules": [{"name": "a", "destinations": ["contouring", "planning"]}],
        }
    )
    assert found == {
        "destinations.1.name": "is the name of an earlier destination",
        "rules.0.destinations.0": "is no destination of this document",
    }


def test_a_group_retrieves_with_all_of_its_members_or_with_none():
    second = PRIORS | {"name": "second"}
    good = GROUP | {"members": ["earlier", "second"]}
    document = RoutingDocument.read({"destinations": [PRIORS, second, good, NODE]})
    by_name = {one.name: one for one in document.destinations}
    assert [name for name, one in by_name.items() if retrieves(one, by_name)] == [
        "earlier",
        "second",
        "either",
    ]
    mixed = GROUP | {"members": ["planning", "earlier"]}
    found = problems({"destinations": [NODE, PRIORS, mixed]})
    assert found == {
        "destinations.2.members.1": "either all members retrieve earlier studies, or none does"
    }


def test_every_kind_of_destination_is_stored_and_read_the_same():
    document = RoutingDocument.read({"destinations": list(EVERY)})
    assert RoutingDocument.read(document.stored()) == document


def test_a_group_of_all_stands_for_its_members():
    everyone = GROUP | {"name": "all", "mode": "all", "members": ["planning", "contouring"]}
    document = RoutingDocument.read({"destinations": [NODE, FOLDER, GROUP, everyone]})
    by_name = {one.name: one for one in document.destinations}
    assert expand(["planning", "all", "either", "gone"], by_name) == [
        "planning",
        "contouring",
        "either",
        "gone",
    ]


def test_an_expression_is_compiled_once_however_often_its_document_is_read():
    document = of(compare("Modality", "matches", "compiled|once"))
    RoutingDocument.read(document)
    compiled = expressions._fault_of.cache_info().misses
    RoutingDocument.read(document)
    assert expressions._fault_of.cache_info().misses == compiled
