"""The about page: version, DICOM services in force, links to documents."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from fastapi import APIRouter, Request, Response

from draw_api.handlers.web.languages import _
from draw_api.handlers.web.pages import View, page
from draw_api.handlers.web.visitor import page_requires
from draw_api.handlers.web.words import is_retired, uid_name
from draw_api.handlers.work import InWork
from draw_shared.access.permissions import Permission
from draw_shared.access.principals import Principal
from draw_shared.contracts.association_rules import storage_classes, storage_syntaxes
from draw_shared.contracts.server_config import ServerConfig
from draw_shared.dicom.encoding import uids

router = APIRouter(include_in_schema=False)

MayReadStatus = Annotated[Principal, page_requires(Permission.READ_STATUS)]

MODELS: Final = {
    "c_find": uids.FIND_MODELS,
    "c_move": uids.MOVE_MODELS,
    "c_get": uids.GET_MODELS,
}


@dataclass(frozen=True, slots=True)
class AboutView(View):
    """What the receiver supports now."""

    template: ClassVar[str] = "about/detail.html.jinja"

    config: ServerConfig
    config_version: int

    @property
    def services(self) -> list[tuple[str, bool, tuple[str, ...]]]:
        """Each DIMSE service, whether it is offered, and for which SOP classes."""
        offered = self.config.services
        return [
            ("C-ECHO", offered.c_echo, (uids.VERIFICATION,)),
            ("C-STORE", offered.c_store, ()),
            *(
                (name.upper().replace("_", "-"), bool(getattr(offered, name)), models)
                for name, models in MODELS.items()
            ),
        ]

    @property
    def sop_classes(self) -> list[str]:
        """The storage SOP classes that are accepted, by name."""
        return sorted(
            _("%(name)s (retired)", name=uid_name(uid)) if is_retired(uid) else uid_name(uid)
            for uid in storage_classes(self.config.sop_classes)
        )

    @property
    def transfer_syntaxes(self) -> list[str]:
        """The transfer syntaxes in which objects are accepted, by name."""
        accepted = storage_syntaxes(self.config.transfer_syntaxes)
        return sorted(uid_name(uid) for uid in accepted)


@router.get("/about")
def about(request: Request, by: MayReadStatus, work: InWork) -> Response:
    """Show the version and what it supports."""
    current = work.configuration.current()
    return page(request, by, AboutView(current.document, current.version))
