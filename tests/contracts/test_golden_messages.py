"""What was ever written to the broker can be read for ever.

`golden/<routing key>.json` is one body of each version as it was first written; the files are
never changed. A new version adds a file.
"""

import json
from pathlib import Path

import pytest

from tools.messages_page import MESSAGES

GOLDEN = Path(__file__).with_name("golden")
BY_KEY = {message.routing_key: message for message in MESSAGES}


def test_every_version_has_a_golden_body():
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(BY_KEY)


@pytest.mark.parametrize("key", sorted(BY_KEY))
def test_a_golden_body_parses_and_says_the_same(key):
    held = json.loads((GOLDEN / f"{key}.json").read_text(encoding="utf-8"))
    message = BY_KEY[key].from_bytes(json.dumps(held).encode())
    written = json.loads(message.to_bytes())
    assert {name: written[name] for name in held} == held


@pytest.mark.parametrize("key", sorted(BY_KEY))
def test_fields_of_newer_writers_are_ignored(key):
    held = json.loads((GOLDEN / f"{key}.json").read_text(encoding="utf-8"))
    held["of_a_later_release"] = {"anything": 1}
    assert BY_KEY[key].from_bytes(json.dumps(held).encode()).routing_key == key


@pytest.mark.parametrize("key", sorted(BY_KEY))
def test_every_field_of_the_golden_body_still_exists(key):
    held = json.loads((GOLDEN / f"{key}.json").read_text(encoding="utf-8"))
    assert set(held) <= set(BY_KEY[key].model_fields)
