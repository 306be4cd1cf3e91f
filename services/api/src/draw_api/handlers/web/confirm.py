"""Asks once more before something that cannot be taken back; works without JavaScript."""

from dataclasses import dataclass
from typing import ClassVar

from draw_api.handlers.web.pages import View


@dataclass(frozen=True, slots=True)
class ConfirmView(View):
    """What would be done, and the button that does it."""

    template: ClassVar[str] = "confirm.html.jinja"

    title: str
    text: str
    button: str
    action: str
    back: str
    fields: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    """Label of a text that has to be given; empty: none is asked for."""
    danger: bool = True
