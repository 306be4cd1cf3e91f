"""What webhook deliveries are signed with, as docs/integration.md tells receivers to check it."""

import hashlib
import hmac
import re
from pathlib import Path

from draw_indexer.services.webhooks import signature

ROOT = Path(__file__).resolve().parents[3]


def test_the_signature_is_that_of_time_and_body():
    found = signature("key", 1_700_000_000, b'{"sequence": 1}')
    expected = hmac.new(b"key", b'1700000000.{"sequence": 1}', hashlib.sha256).hexdigest()
    assert found == f"t=1700000000,v1={expected}"


def test_the_example_for_receivers_accepts_it_and_nothing_else(monkeypatch):
    page = (ROOT / "docs" / "integration.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(import hashlib.*?)```", page, re.DOTALL)
    names = {}
    exec(example, names)  # noqa: S102 - our own page
    monkeypatch.setattr(names["time"], "time", lambda: 1_700_000_100.0)
    header = signature("key", 1_700_000_000, b"body")
    assert names["genuine"]("key", header, b"body")
    assert not names["genuine"]("other", header, b"body")
    assert not names["genuine"]("key", header, b"other")
    assert not names["genuine"]("key", signature("key", 1_699_000_000, b"body"), b"body")
