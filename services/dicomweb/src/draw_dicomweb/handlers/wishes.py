"""Chooses how to answer a request, or says what could be had."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from fastapi import Request
from starlette.exceptions import HTTPException

from draw_dicomweb.services.media_types import Choice, Offer, choose, describe, read_accept
from draw_shared.wording import message

ACCEPT: Final = "accept"
MAX_NAMED: Final = 12


def chosen(request: Request, offers: Sequence[Offer]) -> Choice:
    """Return the choice among offers; the parameter `accept` comes before the header.

    Raises:
        HTTPException: the client wants none of it; the text says what there is (406).
    """
    told = request.query_params.getlist(ACCEPT)
    wishes = read_accept(told) or read_accept(request.headers.getlist(ACCEPT))
    found = choose(wishes, offers)
    if found is None:
        raise HTTPException(
            HTTPStatus.NOT_ACCEPTABLE,
            message(
                "This can be had as: %(forms)s", forms=" | ".join(describe(offers)[:MAX_NAMED])
            ),
        )
    return found
