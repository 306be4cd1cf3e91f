"""No page has a text that its catalogues do not know, whatever the page shows."""

import re
from collections import deque
from urllib.parse import urlsplit

import jinja2
import pytest
from jinja2 import Environment

from draw_api.handlers.web.pages import PACKAGE
from draw_shared.dicom.encoding.dictionary import registered_uids
from support import phantom, pseudo_language
from support.indexed import IndexedStorage
from support.pseudo_language import Untranslated

pytestmark = pytest.mark.integration

VALUES = (
    "DRAW DICOM", "DRAW_SCP", "English", "Deutsch", "test-api", "token-owner", "admin",
    "qr-worker", "indexer", "scp", "api", "C-ECHO", "C-STORE", "C-FIND", "C-MOVE", "C-GET",
)  # fmt: skip
"""Names, which are the same in every language."""
STARTS = (
    "/", "/services", "/studies", "/patients", "/conflicts", "/storage", "/queries", "/queries/new",
    "/batch-queries", "/batch-queries/new", "/jobs", "/jobs/all", "/nodes", "/nodes/new",
    "/transactions", "/ae-titles", "/ae-titles/simulator?calling_ae=A&address=192.0.2.1", "/config",
    "/config/history", "/changes", "/webhooks/new", "/dead-letters", "/users", "/users/new",
    "/users/password", "/tokens/new", "/about", "/services/scp/stop", "/nothing-is-here",
)  # fmt: skip
DOWNLOADS = re.compile(
    r"\.(zip|csv|dcm)|/(file|thumbnail|frames?)\b|/archive|^/(api|static)/|/metrics"
)
MAX_PAGES = 300


def shape(address):
    """Return what addresses of the same kind of page have in common."""
    parts = urlsplit(address)
    names = "&".join(sorted(re.findall(r"(?:^|&)(\w+)=", parts.query)))
    path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d[\d.]*", "1", parts.path)
    return path, names


@pytest.fixture(scope="module")
def german(shared_api):
    """An administrator who reads the bracketed language, with an archive of every modality."""
    archive = IndexedStorage(shared_api.settings.storage_root, shared_api.database)
    archive.receive(*phantom.study(slices=2, PatientName="QQ^QQ", PatientID="QQ-1"))
    archive.close()
    admin = shared_api.of_role("admin")
    with pseudo_language.spoken():
        admin.put("/api/v1/me/language", json={"language": "de"}).raise_for_status()
        yield admin


def test_every_page_speaks_the_language(german):
    registered = [found.name for found in registered_uids().values()]
    values = sorted({*VALUES, *registered}, key=len, reverse=True)
    waiting, seen, wrong = deque(STARTS), {shape(one) for one in STARTS}, {}
    pages = 0
    while waiting and pages < MAX_PAGES:
        address = waiting.popleft()
        answer = german.get(address, follow_redirects=True)
        pages += 1
        assert answer.status_code < 500, address
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        reader = Untranslated(values)
        reader.feed(answer.text)
        for text in reader.found:
            wrong.setdefault(text, address)
        for link in reader.links:
            if shape(link) not in seen and not DOWNLOADS.search(link):
                seen.add(shape(link))
                waiting.append(link)
    assert pages > 50
    assert wrong == {}


@pytest.mark.parametrize("sent", [{}, {"csrf_token": "wrong"}])
def test_refusals_of_forms_speak_it_too(german, sent):
    reader = Untranslated(VALUES)
    reader.feed(german.post("/users/new", data=sent, follow_redirects=True).text)
    assert reader.found == []


TEMPLATES = sorted((PACKAGE / "templates").rglob("*.jinja"))
LITERAL = re.compile(r"[A-Z][a-z]|[a-z]{2,} [a-z]")
"""A text for people: a state has neither a capital nor a blank."""
CLASSES = set(re.findall(r"\.([a-z][\w-]*)", (PACKAGE / "static/css/app.css").read_text("utf-8")))


def texts_beside(source):
    """Yield what a template says outside its expressions."""
    parts = [
        (value if kind == "data" else "" if kind.startswith(("comment", "block")) else "\0")
        for _, kind, value in Environment(autoescape=True, extensions=["jinja2.ext.i18n"]).lex(
            source
        )
    ]
    text = "".join(parts)
    text = re.sub(r"<(code|pre|svg|script|style)\b.*?</\1>", " ", text, flags=re.DOTALL)
    for name in pseudo_language.SPOKEN_ATTRIBUTES:
        yield from re.findall(rf'\b{name}="([^"\0]*)"', text)
    # What is left of attributes belongs to macros that write a part of a tag.
    yield from re.sub(r"""<[^>]*>|\b[\w-]+="[^"]*\"""", "\n", text).splitlines()


def literals(node):
    """Yield the strings in expressions that are shown as they are."""
    if isinstance(node, jinja2.nodes.Const) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, jinja2.nodes.CondExpr):
        for one in (node.expr1, node.expr2):
            if one is not None:
                yield from literals(one)
    elif isinstance(node, jinja2.nodes.Or | jinja2.nodes.Concat | jinja2.nodes.Output):
        for one in node.iter_child_nodes():
            yield from literals(one)


@pytest.mark.parametrize(
    "path", TEMPLATES, ids=lambda path: str(path.parent.name + "/" + path.name)
)
def test_templates_say_nothing_outside_the_catalogues(path):
    source = path.read_text(encoding="utf-8")
    said = re.sub(r"\{%-? ?trans\b.*?endtrans -?%\}", "", source, flags=re.DOTALL)
    texts = list(texts_beside(said))
    tree = Environment(autoescape=True, extensions=["jinja2.ext.i18n"]).parse(said)
    shown = [text for output in tree.find_all(jinja2.nodes.Output) for text in literals(output)]
    wrong = [t.strip() for t in texts if pseudo_language.WORD.search(t.replace("DRAW DICOM", ""))]
    wrong += [
        t for t in shown if LITERAL.search(t) and not set(t.split()) <= CLASSES and "<" not in t
    ]
    assert wrong == []
