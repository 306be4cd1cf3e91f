"""Renders a view as HTML: a whole page, or only its changing part when htmx asks.

A view is a dataclass that names its template. The template gets it as `view`, and the surroundings
of every page as `frame`. Text is escaped unless it is our own markup.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from draw_api.handlers.web import words
from draw_api.handlers.web.field_names import field_name
from draw_api.handlers.web.languages import (
    N_,
    gettext,
    ngettext_plain,
    spoken_language,
)
from draw_api.handlers.web.navigation import NAVIGATION, NavigationEntry, place_of
from draw_api.models.languages import LANGUAGES
from draw_api.models.texts import whole_number
from draw_shared.access.permissions import Permission, may
from draw_shared.access.principals import Principal

PACKAGE: Final = Path(__file__).resolve().parents[2]
STATIC: Final = PACKAGE / "static"
PAGE_PARAMETERS: Final = frozenset({"cursor", "before", "trail"})
"""What an address has beside the filters of a list."""
TRAIL_SEPARATOR: Final = "~"
MAX_TRAIL_LENGTH: Final = 1500
"""An address has to go through every proxy; of a longer trail the beginning is dropped."""
NOTICE_COOKIE: Final = "draw_notice"
NOTICE_SECONDS: Final = 30
"""For the way from a form to the page that says what it did."""


@dataclass(frozen=True, slots=True)
class View:
    """The content of one page."""

    template: ClassVar[str]
    fragment: ClassVar[str] = ""
    """The template of the part that htmx replaces; empty means always the whole page."""


@dataclass(frozen=True, slots=True)
class PageLinks:
    """Where one page of a list is, and the addresses of the pages around it; empty: none."""

    before: int
    """How many rows the pages before it have."""
    first: str
    previous: str
    next: str


@dataclass(frozen=True, slots=True)
class Frame:
    """The surroundings of every page."""

    by: Principal | None
    path: str
    query: str
    version: str
    notice: str

    @property
    def places(self) -> Iterator[tuple[str, list[NavigationEntry]]]:
        """The entries of the navigation that the visitor may see, by their headings."""
        for title, places in NAVIGATION:
            shown = [place for place in places if self.may(place.permission)]
            if shown:
                yield title, shown

    @property
    def csrf_token(self) -> str:
        """The token that every form must send back."""
        return (self.by.csrf_token or "") if self.by else ""

    @property
    def here(self) -> str:
        """The path of the navigation entry that this page belongs to."""
        return place_of(self.path)

    @property
    def address(self) -> str:
        """The address of this page within the site."""
        return f"{self.path}?{self.query}" if self.query else self.path

    def with_parameter(self, name: str, value: str) -> str:
        """Return the address of this page with one parameter set, as for its next page."""
        return f"{self.path}?{urlencode([*self._others(name), (name, value)])}"

    def without_parameter(self, name: str) -> str:
        """Return the address of this page without one parameter, as for its first page."""
        others = self._others(name)
        return f"{self.path}?{urlencode(others)}" if others else self.path

    def with_parameters(self, **changed: str) -> str:
        """Return the address of this list's first page with other parameters; empty ones go."""
        kept = [pair for pair in self._list() if pair[0] not in changed]
        return self._address([*kept, *((k, v) for k, v in changed.items() if v)])

    def page_links(self, next_cursor: str | None, shown: int) -> PageLinks:
        """Return the addresses of the pages around one that shows so many rows.

        A cursor only leads on. So the address also has the trail of the pages before, each with how
        many rows there are before it.
        """
        held = dict(parse_qsl(self.query))
        cursor = held.get("cursor", "")
        before = (whole_number(held.get("before", "")) or 0) if cursor else 0
        trail = [one for one in held.get("trail", "").split(TRAIL_SEPARATOR) if "." in one]
        trail = trail if cursor else []
        previous = ""
        if trail:
            number, _, last = trail[-1].partition(".")
            previous = self._place(last, number, trail[:-1])
        onward = [*trail, f"{before}.{cursor}"]
        while len(TRAIL_SEPARATOR.join(onward)) > MAX_TRAIL_LENGTH:
            onward = onward[1:]
        return PageLinks(
            before=before,
            first=self._address(self._list()) if cursor else "",
            previous=previous,
            next=self._place(next_cursor, str(before + shown), onward) if next_cursor else "",
        )

    def _list(self) -> list[tuple[str, str]]:
        return [pair for pair in parse_qsl(self.query) if pair[0] not in PAGE_PARAMETERS]

    def _place(self, cursor: str, before: str, trail: list[str]) -> str:
        """Return the address of a page; that of the first has no cursor."""
        if not cursor:
            return self._address(self._list())
        way = (("cursor", cursor), ("before", before), ("trail", TRAIL_SEPARATOR.join(trail)))
        return self._address([*self._list(), *way])

    def _address(self, parameters: list[tuple[str, str]]) -> str:
        return f"{self.path}?{urlencode(parameters)}" if parameters else self.path

    def _others(self, name: str) -> list[tuple[str, str]]:
        return [(key, held) for key, held in parse_qsl(self.query) if key != name]

    def may(self, permission: str) -> bool:
        """Return whether the user has the permission; a page offers nothing else."""
        return self.by is not None and may(self.by, Permission(permission))


def asset(name: str) -> str:
    """Return the address of a static file, which changes with its content."""
    return f"/static/{name}?v={_digest(name)}"


def has_asset(name: str) -> bool:
    """Return whether an installation step has provided the file."""
    return (STATIC / name).is_file()


@cache
def _digest(name: str) -> str:
    path = STATIC / name
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else "missing"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("draw_api"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(words.FILTERS, field_name=field_name)
    made.globals.update(
        asset=asset,
        has_asset=has_asset,
        address=address,
        spoken_language=spoken_language,
        languages=LANGUAGES,
    )
    # New style: `_("… %(name)s", name=x)` escapes its values, and a "%" of the text is "%%".
    translate: Any = getattr(made, "install_gettext_callables")  # noqa: B009 - the extension adds it
    translate(gettext, ngettext_plain, newstyle=True)
    return made


def render(template: str, **context: object) -> str:
    """Return the rendered template."""
    return _environment().get_template(template).render(context)


def page(
    request: Request,
    by: Principal | None,
    view: View,
    *,
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    """Return the view as a page, or as the fragment that htmx asked for."""
    frame = frame_of(request, by)
    template = view.fragment if view.fragment and asks_for_fragment(request) else view.template
    answer = HTMLResponse(render(template, view=view, frame=frame), status_code=status)
    answer.headers["Vary"] = "HX-Request"
    if asks_for_fragment(request):
        if urlsplit(request.headers.get("hx-current-url", ""))[2:4] == request.url.components[2:4]:
            # The browser is there: a second entry in its history would need a second "Back".
            answer.headers["HX-Push-Url"] = "false"
    elif NOTICE_COOKIE in request.cookies:
        answer.delete_cookie(NOTICE_COOKIE, httponly=True, samesite="strict")
    return answer


def frame_of(request: Request, by: Principal | None, path: str = "") -> Frame:
    """Return the frame of the page that answers this request, or of the page at `path`."""
    return Frame(
        by=by,
        path=path or request.url.path,
        query=request.url.query,
        version=version("draw-api"),
        notice=gettext(NOTICES.get(request.cookies.get(NOTICE_COOKIE, ""), "")),
    )


def asks_for_fragment(request: Request) -> bool:
    """Return whether htmx requests a part of the page that it shows."""
    headers = request.headers
    return "hx-request" in headers and "hx-history-restore-request" not in headers


def redirect(path: str, notice: str = "") -> Response:
    """Return the answer to a form that was carried out: look there, it says what was done.

    The notice is in a cookie, not in the address: a link cannot claim that something was done,
    and a page that is loaded again does not repeat it.
    """
    answer = RedirectResponse(path, status_code=HTTPStatus.SEE_OTHER)
    if notice:
        answer.set_cookie(
            NOTICE_COOKIE, notice, max_age=NOTICE_SECONDS, httponly=True, samesite="strict"
        )
    return answer


def address(path: str, **parameters: object) -> str:
    """Return a path with its non-empty parameters."""
    said = {name: value for name, value in parameters.items() if value not in {None, ""}}
    return f"{path}?{urlencode(said)}" if said else path


NOTICES: Final = {
    "signed-out": N_("You are signed out."),
    "told": N_("The service got the order; its state follows."),
    "config-saved": N_("The configuration is saved; every replica has it within two seconds."),
    "config-same": N_("Nothing was changed."),
    "config-restored": N_("The earlier version is in force again, as a new version."),
    "title-added": N_("The AE title may associate now."),
    "title-saved": N_("The AE title is saved."),
    "title-removed": N_("The AE title is off the list."),
    "peer-allowed": N_("The peer is let in from now on."),
    "node-added": N_("The remote node is added. Test the connection next."),
    "node-saved": N_("The remote node is saved."),
    "node-removed": N_("The remote node is removed."),
    "node-tested": N_("The test is on its way; its result appears here."),
    "nodes-tested": N_("The tests are on their way; their results appear here."),
    "node-paused": N_("The node's jobs wait until it is resumed."),
    "node-resumed": N_("The node's jobs go on."),
    "node-pinned": N_(
        "Pinned: it is trusted by this certificate alone. Test the connection again."
    ),
    "node-limit-forgotten": N_("The next query finds out again after how many matches it stops."),
    "query-removed": N_("The query is deleted."),
    "query-saved": N_("The query is saved."),
    "saved-query-removed": N_("The saved query is deleted."),
    "standing-query-saved": N_("The standing query is saved."),
    "standing-query-run": N_("It is about to be asked; the run is the first below."),
    "standing-query-paused": N_("It is not asked until it is resumed."),
    "standing-query-resumed": N_("It is asked by its schedule again."),
    "standing-query-removed": N_("The standing query is deleted."),
    "query-cached": N_("The same was asked a moment ago: this is that answer."),
    "rule-saved": N_("The rule is saved."),
    "routing-batch-started": N_("The rules are being applied; how far that is appears here."),
    "routing-batch-cancelled": N_("The batch has ended."),
    "destination-saved": N_("The destination is saved."),
    "destination-removed": N_("The destination is removed."),
    "rule-active": N_("The rule is looked at from now on."),
    "rule-inactive": N_("The rule is passed over from now on."),
    "rule-moved": N_("The order is changed."),
    "rule-removed": N_("The rule is removed."),
    "rules-restored": N_("The earlier rules are in force again, as a new version."),
    "destination-paused": N_("Nothing new is begun there until it is resumed."),
    "destination-draining": N_("Only what was decided until now is still sent there."),
    "destination-resumed": N_("Everything is sent there again."),
    "delivery-retried": N_("It is tried at once."),
    "delivery-given-up": N_("The delivery is given up."),
    "deliveries-retried": N_("They are tried at once."),
    "deliveries-given-up": N_("The deliveries are given up."),
    "job-cancelled": N_("The job is cancelled."),
    "job-known": N_("This is already on the way: here is the job."),
    "job-pulled-forward": N_("This was to come later: it was pulled forward."),
    "job-created": N_("The job is queued."),
    "job-priority": N_("The priority is set."),
    "user-added": N_("The user is added."),
    "user-saved": N_("The user is saved."),
    "user-removed": N_("The user is removed."),
    "password-set": N_("The password is set; other sessions of the user have ended."),
    "token-revoked": N_("The token is worthless now."),
    "session-ended": N_("The session has ended."),
    "study-held": N_("The study is held: clean-up leaves it alone."),
    "study-released": N_("The study is released."),
    "study-deleted": N_("The study is deleted; its files go within seconds."),
    "webhook-added": N_("The webhook is added."),
    "webhook-saved": N_("The webhook is saved."),
    "webhook-removed": N_("The webhook is removed."),
    "deliveries-replayed": N_("What was asked for is sent again."),
    "replayed": N_("The messages are back in their queues."),
    "discarded": N_("The message is gone."),
}
"""What a page says above its content after a form was carried out, by the key in a cookie."""
