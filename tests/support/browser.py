"""Debian's Chromium, driven by playwright, and axe-core for what people with aids would meet."""

import re
import shutil
from contextlib import contextmanager

from playwright.sync_api import expect, sync_playwright

from support.service_finder import ROOT, missing
from support.suite import ADMIN_PASSWORD

WEB = ROOT / "services" / "api" / "web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
VENDOR = ROOT / "services" / "api" / "src" / "draw_api" / "static" / "vendor" / "htmx.min.js"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
SERIOUS = ("serious", "critical")
PATIENCE_MILLISECONDS = 45_000
"""For what is not there yet: a page, or what it shall show."""
# What is wider than its box, and words of a table that are broken in two. UIDs may be broken.
MISFITS = r"""() => {
  const found = new Set();
  const within = document.documentElement.clientWidth;
  for (const one of document.querySelectorAll('main *')) {
    const wide = one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 3;
    const scrolls = ['auto', 'scroll'].includes(getComputedStyle(one).overflowX);
    if (wide && scrolls && one.tagName !== 'TEXTAREA')
      found.add(`scrolls sideways: ${one.outerHTML.slice(0, 80)}`);
    const chosen = one.tagName === 'SELECT' && one.checkVisibility();
    if (chosen && one.getBoundingClientRect().right > within)
      found.add(`is beyond the edge: ${one.id}`);
  }
  for (const cell of document.querySelectorAll('main table:not(.tree) :is(th, td)')) {
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const text = texts.currentNode;
      if (text.parentElement.closest('.uid, .uid-cell, code, bdi')) continue;
      for (const word of text.data.matchAll(/\p{Letter}{3,24}/gu)) {
        const range = document.createRange();
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        const lines = [...range.getClientRects()].filter(one => one.width > 0);
        if (new Set(lines.map(one => Math.round(one.top))).size > 1)
          found.add(`breaks a word: ${word[0]}`);
      }
    }
  }
  return [...found];
}"""


def executable() -> str:
    """Return where Chromium is; without it the test is skipped, or fails in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    lacking = [
        name
        for name, there in (
            ("chromium", found is not None),
            ("browser libraries (tools/setup.sh web --dev)", AXE.is_file() and VENDOR.is_file()),
        )
        if not there
    ]
    if lacking:
        missing(f"not installed: {', '.join(lacking)}")
    return str(found)


@contextmanager
def chromium():
    """Yield a browser."""
    path = executable()
    with sync_playwright() as playwright:
        expect.set_options(timeout=PATIENCE_MILLISECONDS)
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser window; complaints of the browser are collected."""

    def __init__(self, browser, url, **options):
        self.url = url
        options.setdefault("viewport", DESKTOP)
        options.setdefault("locale", "en-GB")
        self.context = browser.new_context(timezone_id="Europe/Berlin", base_url=url, **options)
        self.context.set_default_timeout(PATIENCE_MILLISECONDS)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("dialog", self._dialog)
        self.page.on("console", self._console)

    def _dialog(self, dialog):
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message):
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def sign_in(self, name="admin", password=ADMIN_PASSWORD):
        """Sign in as people do."""
        self.page.goto("/sign-in")
        self.page.fill("#name", name)
        self.page.fill("#password", password)
        self.page.click("button:has-text('Sign in')")
        self.page.wait_for_url(re.compile(rf"{re.escape(self.url)}/$"))
        return self

    def share(self, other):
        """Have the session of somebody else's window."""
        self.context.add_cookies(other.context.cookies())
        return self

    def serious_issues(self, *rules):
        """Return what axe-core finds serious on the page, by these rules or all.

        Needs a context that bypasses CSP.
        """
        return self._issues(SERIOUS, rules)

    def all_issues(self):
        """Return what axe-core finds on the page, however serious; as `serious_issues`."""
        return self._issues((*SERIOUS, "moderate", "minor"), ())

    def _issues(self, levels, rules):
        if not self.page.evaluate("() => Boolean(window.axe)"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
        found = self.page.evaluate(
            "async (options) => (await axe.run(document, options)).violations", options
        )
        return [
            f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
            for one in found
            if one["impact"] in levels
            for node in one["nodes"][:3]
        ]

    def overflow(self):
        """Return by how many pixels the page is wider than the window."""
        return self.page.evaluate(
            "() => Math.max(0, document.documentElement.scrollWidth - window.innerWidth)"
        )

    def misfits(self):
        """Return what is too wide for the window, also inside a card, and words broken in two."""
        beyond = self.overflow()
        found = self.page.evaluate(MISFITS)
        return [*([f"is {beyond} pixels too wide"] if beyond else ()), *found]

    def close(self):
        self.context.close()
