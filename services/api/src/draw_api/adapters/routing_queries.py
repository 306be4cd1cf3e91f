"""What the index knows about series, as facts for the rules of routing."""

from collections.abc import Iterable

from sqlmodel import Session
from typing_extensions import override

from draw_api.ports.routing import RoutingFactsSource
from draw_shared.db.routing_facts import archived_facts
from draw_shared.routing.document import Trigger
from draw_shared.routing.facts import ArchivedFacts, Reader
from draw_shared.routing.subjects import ConditionSubject


class PostgresRoutingFactsSource(RoutingFactsSource):
    """The index, and the files of objects where it does not suffice."""

    def __init__(self, session: Session, read: Reader) -> None:
        self._connection = session.connection()
        self._read = read

    @override
    def facts(
        self, trigger: Trigger, uid: str, wanted: Iterable[ConditionSubject]
    ) -> ArchivedFacts | None:
        return archived_facts(self._connection, trigger, uid, wanted, self._read)
