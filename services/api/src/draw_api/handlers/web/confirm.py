"""Asks for confirmation before an irreversible action; works without JavaScript."""

from dataclasses import dataclass
from typing import ClassVar

from draw_api.handlers.web.pages import View


@dataclass(frozen=True, slots=True)
class ConfirmView(View):
    """The action, and the button that performs it."""

    template: ClassVar[str] = "confirm.html.jinja"

    title: str
    text: str
    button: str
    action: str
    back: str
    fields: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    """Label of a required text; empty means that none is needed."""
    danger: bool = True
