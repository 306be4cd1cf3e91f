"""WADO-RS: hands out objects (PS3.18 10.4)."""

from collections.abc import Sequence
from typing import Final

from draw_dicomweb.models import ArchivedObject, UidPath
from draw_dicomweb.ports.objects import ObjectIndex
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.access.recent_views import ViewRegister
from draw_shared.contracts.failures import NotFound
from draw_shared.wording import message

SERIES: Final = "series"
"""What is looked at, for the register of views."""


class ObjectRetrieveService:
    """Finds what an address names, and records who has asked for it."""

    def __init__(self, index: ObjectIndex, audit: AuditTrail, views: ViewRegister) -> None:
        self._index = index
        self._audit = audit
        self._views = views

    def objects(self, named: UidPath) -> Sequence[ArchivedObject]:
        """Return the objects of a study, a series or an instance.

        Raises:
            NotFound: the index has none of it.
        """
        found = self._index.objects(named)
        if not found:
            raise NotFound(message("The index has nothing of this."))
        return found

    def hand_out(self, by: Principal, named: UidPath) -> Sequence[ArchivedObject]:
        """Return the objects of an address, and record that somebody retrieves them.

        Raises:
            NotFound: the index has none of it.
        """
        found = self.objects(named)
        what = named.instance or named.series or named.study
        kind = "instance" if named.instance else "series" if named.series else "study"
        self._audit.record(
            by,
            f"{kind}.retrieve",
            f"{what}: {len(found)} objects",
            study_instance_uid=named.study,
            sop_instance_uid=named.instance or None,
        )
        return found

    def look_at(self, by: Principal, named: UidPath) -> ArchivedObject:
        """Return one object, and record that somebody looks at its series.

        A viewer asks for each frame: a series is on record once in a while, not with each.

        Raises:
            NotFound: the index does not have it.
        """
        found = self.objects(named)[0]
        if self._views.first(by, SERIES, found.series_instance_uid):
            self._audit.record(
                by,
                "series.view",
                found.series_instance_uid,
                study_instance_uid=found.study_instance_uid,
            )
        return found
