"""Refuses requests with parameters that their operation does not know, or that are repeated.

Ignoring a misspelt parameter would give another answer than the client asked for.
"""

from collections.abc import Iterator
from typing import Any, Final, get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from draw_api.handlers.rest.single_sign_on import CALLBACK
from draw_shared.contracts.failures import FieldProblem, Invalid
from draw_shared.web.identity import dependants_of
from draw_shared.wording import message

OTHERS_ADD: Final = frozenset({CALLBACK})
"""An identity provider may add any parameters to these; they are ignored (RFC 6749 4.1.2)."""


async def require_known_parameters(request: Request) -> None:
    """Return if the operation knows every parameter of the request.

    Raises:
        Invalid: it does not know one, or a single parameter is there twice.
    """
    route = request.scope["route"]
    if request.url.path in OTHERS_ADD:
        return
    known = dict(_known_names(route.dependant))
    problems = list(_problems(request, known))
    if problems:
        raise Invalid(problems)


def _known_names(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Yield the name of each parameter, and whether it may be repeated."""
    for one in dependants_of(dependant):
        for parameter in one.query_params:
            kind = parameter.field_info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                for name, field in kind.model_fields.items():
                    yield name, _takes_several(field.annotation)
            else:
                yield parameter.alias, _takes_several(kind)


def _problems(request: Request, known: dict[str, bool]) -> Iterator[FieldProblem]:
    for name in dict.fromkeys(request.query_params):
        times = len(request.query_params.getlist(name))
        if name not in known:
            yield FieldProblem(name, _describe_known(list(known)))
        elif times > 1 and not known[name]:
            yield FieldProblem(
                name, message("is given %(times)s times; once is meant", times=times)
            )


def _describe_known(known: list[str]) -> str:
    if not known:
        return message("is not a parameter here; there is none")
    *others, last = known
    if not others:
        return message("is not a parameter here; there is only %(name)s", name=last)
    return message(
        "is not a parameter here; there are %(names)s and %(last)s",
        names=", ".join(others),
        last=last,
    )


def _takes_several(annotation: Any) -> bool:  # noqa: ANN401 - any type
    if get_origin(annotation) in {list, tuple, set}:
        return True
    return any(_takes_several(part) for part in get_args(annotation))
