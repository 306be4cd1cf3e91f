"""Reads the UIDs in addresses, and makes addresses from UIDs."""

from collections.abc import Sequence
from typing import Final

from fastapi import Request

from draw_dicomweb.models import ROOT, UidPath
from draw_shared.contracts.failures import NotFound
from draw_shared.storage.ingest import is_uid
from draw_shared.wording import message

STEPS: Final = ("studies", "series", "instances")


def named_by(request: Request) -> UidPath:
    """Return what the address of a request names.

    Raises:
        NotFound: it has something that is no UID.
    """
    found = UidPath(*(request.path_params.get(step, "") for step in STEPS))
    if not all(is_uid(uid) for _, uid in found.parts):
        raise NotFound(message("An address has UIDs, and this one has something else."))
    return found


def address_of(request: Request, uids: Sequence[str]) -> str:
    """Return the absolute address of a study, a series or an instance.

    It begins as the client's own address did, behind whatever proxy.
    """
    base = str(request.base_url).rstrip("/")
    path = "".join(f"/{step}/{uid}" for step, uid in zip(STEPS, uids, strict=False))
    return f"{base}{ROOT}{path}"
