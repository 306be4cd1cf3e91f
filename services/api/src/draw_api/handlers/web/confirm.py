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
    about: tuple[tuple[str, str], ...] = ()
    """What it would be done to, by name and value."""
    reason: str = ""
    """Label of a text that has to be given; empty: none is asked for."""
    typed: str = ""
    problem: str = ""
    """What is wrong with the text that was typed."""
    danger: bool = True
