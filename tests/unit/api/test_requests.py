"""What requests may hold: exact types, bounded numbers, and words for what is wrong."""

import ast
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

import draw_api
from draw_api.handlers.web.forms import validate_form
from draw_api.models import jobs, nodes, queries, retrieves, users, webhooks
from draw_api.models.access import SignIn
from draw_api.models.paging import Request
from draw_shared.contracts.failures import Invalid
from draw_shared.contracts.moments import CalendarDate, Moment
from draw_shared.contracts.server_config import Section, ServerConfig
from draw_shared.contracts.validation_words import WORDS, field_of, problems_of

SOURCES = [
    *sorted(Path(draw_api.__file__).parent.rglob("models/*.py")),
    *sorted(Path(draw_api.__file__).parent.rglob("handlers/**/*.py")),
]


def every_subclass(base):
    for made in base.__subclasses__():
        yield made
        yield from every_subclass(made)


MODELS = sorted({*every_subclass(Request), *every_subclass(Section)}, key=lambda m: m.__name__)


def schemas_of(part):
    """Yield every inner schema of a model's own fields, as pydantic validates them."""
    if isinstance(part, dict):
        if "type" in part:
            yield part
        for name, value in part.items():
            if name != "cls":
                yield from schemas_of(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from schemas_of(value)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_numbers_and_switches_are_exact_and_bounded(model):
    for schema in schemas_of(model.__pydantic_core_schema__):
        if schema["type"] in {"int", "bool", "float"}:
            assert schema.get("strict"), schema
        if schema["type"] == "int":
            assert "le" in schema and "ge" in schema, schema


def test_there_are_models():
    assert len(MODELS) > 25


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_parameter_or_field_shows_its_pattern(path):
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    named = {keyword.arg for call in calls for keyword in call.keywords}
    assert "pattern" not in named


NODE = {"name": "pacs", "ae_title": "PACS", "host": "pacs", "port": 104}


@pytest.mark.parametrize(
    "value", [True, False, 104.0, "104", 10**400, math.nan, math.inf, None, [104]]
)
def test_what_is_no_port_is_refused(value):
    for model, document, field in (
        (ServerConfig, {"network": {"port": value}}, "network.port"),
        (nodes.NodeSettings, NODE | {"port": value}, "port"),
    ):
        with pytest.raises(ValidationError) as refused:
            model.model_validate(document)
        (problem,) = problems_of(refused.value.errors(), document)
        assert problem.field == field
        assert problem.message in {"must be a whole number", "must be at most 65535"}


@pytest.mark.parametrize("value", [1, 0, "true", "on", None])
def test_what_is_no_switch_is_refused(value):
    with pytest.raises(ValidationError) as refused:
        nodes.NodeSettings.model_validate(NODE | {"tls": value})
    (problem,) = problems_of(refused.value.errors())
    assert (problem.field, problem.message) == ("tls", "must be true or false")


@pytest.mark.parametrize(
    "value", [20261128, "20261128", 0, "0", 1e9, "2026-11-28T00:00:00Z", "today"]
)
def test_a_date_is_never_a_number(value):
    with pytest.raises(ValidationError):
        TypeAdapter(CalendarDate).validate_python(value)
    assert TypeAdapter(CalendarDate).validate_python("2026-11-28").isoformat() == "2026-11-28"


@pytest.mark.parametrize("value", [5, 1.5, "5", "1700000000", "2026-11-28", True])
def test_a_moment_is_never_a_number(value):
    with pytest.raises(ValidationError) as refused:
        jobs.NewEcho.model_validate({"kind": "echo", "node_id": 1, "not_before": value})
    (problem,) = problems_of(refused.value.errors())
    assert problem.message == "must be a date and time with zone such as 2026-11-28T22:00:00Z"
    made = TypeAdapter(Moment).validate_python("2026-11-28T22:00:00Z")
    assert made == datetime(2026, 11, 28, 22, tzinfo=UTC)


# --- words ----------------------------------------------------------------------------

ASKED = {"node_ids": [1]}
JUDGED = [
    (users.NewUser, {"name": "two words", "role": "viewer"}, "name", "letters, digits"),
    (users.NewUser, {"name": "a", "role": "root"}, "role", "'viewer', 'operator' or 'admin'"),
    (users.NewUser, {"name": "a", "role": "viewer", "password": "x"}, "password", "10 characters"),
    (users.NewUser, {"role": "viewer"}, "name", "is needed"),
    (users.NewUser, {"name": "a", "role": "viewer", "rol": 1}, "rol", "is not known here"),
    (nodes.NodeSettings, NODE | {"calling_ae": "A" * 17}, "calling_ae", "at most 16"),
    (nodes.NodeSettings, NODE | {"calling_ae": "A\\B"}, "calling_ae", "without backslash"),
    (nodes.NodeSettings, NODE | {"name": ""}, "name", "must not be empty"),
    (nodes.NodeSettings, NODE | {"stores_from": "X"}, "stores_from", "must be a list"),
    (
        nodes.NodeSettings,
        NODE | {"windows": [{"days": ["mon"], "start": "7", "end": "09:00"}]},
        "windows.0.start",
        "a time of day such as 22:00",
    ),
    (retrieves.WantedItem, {"study_instance_uid": "1.2.x"}, "study_instance_uid", "must be a UID"),
    (retrieves.WantedItem, {}, "body", "name a study"),
    (webhooks.NewWebhook, {"url": "no url"}, "url", "without blanks"),
    (webhooks.NewWebhook, {"url": "http://x", "kinds": []}, "kinds", "not be"),
    (queries.NewQuery, ASKED | {"keys": {"PatientID": 5}}, "keys.PatientID", "must be text"),
    (queries.NewQuery, ASKED | {"keys": {"PatientID": ["a\n"]}}, "keys.PatientID.0", "one line"),
    (queries.NewQuery, {"node_ids": [True]}, "node_ids.0", "must be a whole number"),
    (SignIn, {"name": "a\nb", "password": "x"}, "name", "one line of text"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "sent", "field", "words"), JUDGED)
def test_what_is_wrong_is_said_in_words_by_field(model, sent, field, words):
    with pytest.raises(ValidationError) as refused:
        model.model_validate(sent)
    (problem,) = problems_of(refused.value.errors(), sent)
    assert problem.field == field
    assert words in problem.message
    assert not any(sign in problem.message for sign in ("^", "\\x", "{", "pydantic", "Input"))


def test_the_kind_of_a_job_is_no_field():
    adapter = TypeAdapter(jobs.NewJob)
    for sent, field, words in (
        ({"kind": "echo", "node_id": "1"}, "node_id", "must be a whole number"),
        ({"kind": "echo"}, "node_id", "is needed"),
        ({"kind": "dance"}, "body", "must be 'echo', 'probe', 'send'"),
        ({}, "body", "needs kind"),
        ({"kind": "send", "node_id": 1, "study_instance_uid": "1.2",
          "sop_instance_uids": ["1.3"]}, "body", "SOP instances need the Series Instance UID"),
    ):  # fmt: skip
        with pytest.raises(ValidationError) as refused:
            adapter.validate_python(sent)
        (problem,) = problems_of(refused.value.errors(), sent)
        assert (problem.field, problem.message) == (field, words)


def test_an_error_that_nobody_put_into_words_shows_nothing_of_python():
    odd: ErrorDetails = {
        "type": "is_instance_of",
        "loc": ("body", "field"),
        "msg": "Input should be an instance of Secret",
        "input": "hunter2",
        "ctx": {"class": "Secret"},
    }
    (problem,) = problems_of([odd])
    assert (problem.field, problem.message) == ("field", "cannot be used")
    assert "is_instance_of" not in WORDS
    assert field_of(("query", "limit"), None, "int_parsing") == "limit"


# --- forms ----------------------------------------------------------------------------


def test_a_form_says_numbers_in_digits():
    sent = NODE | {"port": " 104 ", "timeout_seconds": "5"}
    assert validate_form(nodes.NodeSettings, sent).port == 104
    asked = validate_form(queries.NewQuery, {"node_ids": ["7"], "keys": {"PatientID": "5"}})
    assert asked.node_ids == [7]
    assert asked.keys == {"PatientID": "5"}
    for wrong in ("", "abc", "1.0", "1e3", "9" * 5000, "½"):
        with pytest.raises(Invalid) as refused:
            validate_form(nodes.NodeSettings, NODE | {"port": wrong})
        assert refused.value.problems[0].message == "must be a whole number"
