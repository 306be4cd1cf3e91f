"""The change feed, the rules in force, and the rows of decisions and deliveries."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Row, TextClause, text
from sqlmodel import Session
from typing_extensions import override

from draw_indexer.adapters.feed_position import advance, take_position
from draw_indexer.models import (
    FeedChange,
    FeedPage,
    PostponedDecision,
    RuleDecision,
    RunningBatch,
)
from draw_indexer.ports.routing import (
    BatchTurn,
    PostponedTurn,
    RoutingFeedRepository,
    RoutingTransaction,
    RoutingTurn,
)
from draw_shared.db.archived_series import next_series
from draw_shared.db.feed import INSTANCE_STORED, SERIES_STABLE, STUDY_STABLE
from draw_shared.db.guard import require_served_schema
from draw_shared.db.routing_facts import archived_facts
from draw_shared.db.session import Database, limit_idling
from draw_shared.routing.batches import ArchiveStep, BatchCriteria
from draw_shared.routing.document import Trigger
from draw_shared.routing.facts import ArchivedFacts, Occasion, Reader
from draw_shared.routing.subjects import ConditionSubject

CONSUMER: Final = "routing"
LOOK_AGAIN_SECONDS: Final = (5, 600)
"""The shortest and the longest pause until a decision is looked at again."""
LOOK_AGAIN_LIMIT_SECONDS: Final = 7 * 86_400
"""As long after it was made, it is looked at for the last time."""
FORGOTTEN_AT_ONCE: Final = 1000
"""With a decision go its deliveries, and with these what was answered for."""

TRIGGERS: Final[Mapping[str, Trigger]] = {
    SERIES_STABLE: Trigger.SERIES_COMPLETE,
    STUDY_STABLE: Trigger.STUDY_COMPLETE,
    INSTANCE_STORED: Trigger.INSTANCE,
}
"""Kinds of changes that have rules looked at."""

VERSION: Final = text("SELECT max(version) FROM routing_documents")
DOCUMENT: Final = text("SELECT document FROM routing_documents WHERE version = :version")
LAST: Final = text("SELECT coalesce(max(sequence), 0) FROM changes")
# One lookup for each kind, so that what lies between is not read.
CHANGES: Final = text(
    """
    SELECT c.sequence, c.kind, c.occurred_at, c.reason, c.new_instance_count,
        coalesce(nullif(c.sop_instance_uid, ''), nullif(c.series_instance_uid, ''),
            c.study_instance_uid) AS uid
    FROM unnest(CAST(:kinds AS text[])) AS k(kind) CROSS JOIN LATERAL (
        SELECT * FROM changes
        WHERE (kind, sequence) > (k.kind, :after) AND (kind, sequence) <= (k.kind, :last)
        ORDER BY kind, sequence LIMIT :most) c
    ORDER BY c.sequence LIMIT :most
    """
)
LAG: Final = text(
    """
    SELECT coalesce((SELECT extract(epoch FROM now() - occurred_at) FROM changes
        WHERE sequence > (SELECT sequence FROM feed_positions WHERE consumer = :consumer)
        ORDER BY sequence LIMIT 1), 0)
    """
)
# The migration that made a rule of the handler has written down what was handed over before.
ADD_DECISION: Final = text(
    """
    INSERT INTO routing_decisions (sequence, batch_id, routing_version, trigger,
        study_instance_uid, series_instance_uid, sop_instance_uid, applied, undecided,
        destinations)
    VALUES (:sequence, :batch_id, :version, :trigger, :study, :series, :sop, :applied, :undecided,
        :destinations)
    ON CONFLICT (sequence) DO UPDATE SET routing_version = EXCLUDED.routing_version,
        applied = EXCLUDED.applied, undecided = EXCLUDED.undecided,
        destinations = EXCLUDED.destinations
    RETURNING id
    """
)
ADD_DELIVERY: Final = text(
    """
    INSERT INTO deliveries (decision_id, destination, study_instance_uid, series_instance_uid,
        sop_instance_uid, payload, instance_count, give_up_at)
    VALUES (:decision, :destination, :study, :series, :sop, CAST(:payload AS jsonb), :instances,
        now() + make_interval(secs => :give_up_seconds))
    ON CONFLICT (decision_id, destination) DO NOTHING
    """
)
# Soon at first, then less and less often: the storage may be away for days.
POSTPONE: Final = text(
    """
    INSERT INTO routing_postponed (decision_id, look_again_at)
    SELECT id, now() + make_interval(
        secs => least(greatest(extract(epoch FROM now() - decided_at) / 10, :soonest), :latest))
    FROM routing_decisions WHERE id = :decision
    ON CONFLICT (decision_id) DO UPDATE SET look_again_at = EXCLUDED.look_again_at
    """
)
POSTPONED: Final = text(
    """
    SELECT d.id, d.routing_version, d.trigger, d.applied, d.destinations,
        coalesce(nullif(d.sop_instance_uid, ''), nullif(d.series_instance_uid, ''),
            d.study_instance_uid) AS uid,
        b.rules, c.occurred_at, c.reason, c.new_instance_count,
        d.decided_at < now() - make_interval(secs => :limit) AS late
    FROM routing_postponed p JOIN routing_decisions d ON d.id = p.decision_id
    LEFT JOIN routing_batches b ON b.id = d.batch_id LEFT JOIN changes c ON c.sequence = d.sequence
    WHERE p.look_again_at <= now() ORDER BY p.look_again_at, d.id LIMIT :most
    FOR UPDATE OF p SKIP LOCKED
    """
)
COUNT_POSTPONED: Final = text("SELECT count(*) FROM routing_postponed")
DECIDE_AGAIN: Final = text(
    """
    UPDATE routing_decisions SET applied = :applied, undecided = :undecided, destinations = ARRAY(
        SELECT destination FROM deliveries WHERE decision_id = :decision ORDER BY id)
    WHERE id = :decision
    """
)
FORGET_POSTPONED: Final = text("DELETE FROM routing_postponed WHERE decision_id = :decision")
# A batch that somebody cancels meanwhile waits for the end of this transaction.
BATCH: Final = text(
    """
    SELECT id, routing_version, rules, criteria, position, until FROM routing_batches
    WHERE state = 'running' ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
    """
)
MOVE_BATCH: Final = text(
    """
    UPDATE routing_batches SET position = :position, series_count = series_count + :series,
        delivery_count = delivery_count + :deliveries, state = :state,
        finished_at = CASE WHEN :state = 'complete' THEN now() END
    WHERE id = :id
    """
)
FAIL_BATCH: Final = text(
    "UPDATE routing_batches SET state = 'failed', error = :error, finished_at = now()"
    " WHERE id = :id"
)
FORGET_DECISIONS: Final = text(
    """
    DELETE FROM routing_decisions WHERE id = ANY(ARRAY(
        SELECT id FROM routing_decisions d
        WHERE decided_at < now() - make_interval(days => :days)
            AND NOT EXISTS (SELECT FROM deliveries v
                WHERE v.decision_id = d.id AND v.finished_at IS NULL)
        ORDER BY decided_at LIMIT :most))
    """
)
FORGET_BATCHES: Final = text(
    """
    DELETE FROM routing_batches WHERE id = ANY(ARRAY(
        SELECT id FROM routing_batches b
        WHERE finished_at < now() - make_interval(days => :days)
            AND NOT EXISTS (SELECT FROM routing_decisions d WHERE d.batch_id = b.id)
        ORDER BY finished_at LIMIT :most))
    """
)


class PostgresRoutingFeedRepository(RoutingFeedRepository):
    """Routing's position in the feed and its batches, in PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    @contextmanager
    def turn(self) -> Iterator["PostgresRoutingTurn | None"]:
        with self._database.session() as session:
            require_served_schema(session)
            after = take_position(session, CONSUMER)
            if after is None:
                yield None
            else:
                yield PostgresRoutingTurn(session, after)

    @override
    @contextmanager
    def batch_turn(self) -> Iterator["PostgresBatchTurn | None"]:
        with self._database.session() as session:
            require_served_schema(session)
            row = session.connection().execute(BATCH).first()
            limit_idling(session.connection())
            yield None if row is None else PostgresBatchTurn(session, row)

    @override
    @contextmanager
    def postponed_turn(self, most: int) -> Iterator["PostgresPostponedTurn"]:
        with self._database.session() as session:
            require_served_schema(session)
            limit_idling(session.connection())
            yield PostgresPostponedTurn(session, most)

    @override
    def postponed(self) -> int:
        with self._database.session() as session:
            return int(session.connection().execute(COUNT_POSTPONED).scalar_one())

    @override
    def lag_seconds(self) -> float:
        with self._database.session() as session:
            found = session.connection().execute(LAG, {"consumer": CONSUMER}).scalar()
        return max(0.0, float(found or 0))

    @override
    def forget_old(self, days: int) -> None:
        values = {"days": days, "most": FORGOTTEN_AT_ONCE}
        for statement in (FORGET_DECISIONS, FORGET_BATCHES):
            while self._forget_some(statement, values) == FORGOTTEN_AT_ONCE:
                pass

    def _forget_some(self, statement: TextClause, values: Mapping[str, Any]) -> int:
        with self._database.session() as session:
            require_served_schema(session)
            forgotten = session.connection().execute(statement, values).rowcount
            session.commit()
        return forgotten


class PostgresRoutingTransaction(RoutingTransaction):
    """One transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._connection = session.connection()

    @override
    def document(self, version: int) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._connection.execute(
            DOCUMENT, {"version": version}
        ).scalar_one_or_none()
        return found

    @override
    def facts(
        self,
        trigger: Trigger,
        uid: str,
        wanted: Iterable[ConditionSubject],
        read: Reader,
        occasion: Occasion | None,
    ) -> ArchivedFacts | None:
        return archived_facts(self._connection, trigger, uid, wanted, read, occasion)

    def _add(self, decision: RuleDecision) -> None:
        of = _about(decision)
        number = self._connection.execute(
            ADD_DECISION,
            of
            | {
                "sequence": decision.sequence,
                "batch_id": decision.batch_id,
                "version": decision.routing_version,
                "trigger": str(decision.trigger),
                "applied": list(decision.applied),
                "undecided": list(decision.undecided),
                "destinations": [one.destination for one in decision.deliveries],
            },
        ).scalar_one()
        self._add_deliveries(number, of, decision)

    def _add_deliveries(self, number: int, of: Mapping[str, str], decision: RuleDecision) -> None:
        """Add the deliveries of a decision that are not there yet, and have it looked at again."""
        rows = [
            {
                **of,
                "decision": number,
                "destination": one.destination,
                "payload": json.dumps(one.payload),
                "instances": one.instances,
                "give_up_seconds": one.give_up_seconds,
            }
            for one in decision.deliveries
        ]
        if rows:
            self._connection.execute(ADD_DELIVERY, rows)
        if decision.postponed:
            self._postpone(number)

    def _postpone(self, number: int) -> None:
        soonest, latest = LOOK_AGAIN_SECONDS
        values = {"decision": number, "soonest": soonest, "latest": latest}
        self._connection.execute(POSTPONE, values)


class PostgresRoutingTurn(PostgresRoutingTransaction, RoutingTurn):
    """One transaction that holds the position."""

    def __init__(self, session: Session, after: int) -> None:
        super().__init__(session)
        self._after = after

    @override
    def version(self) -> int | None:
        found: int | None = self._connection.execute(VERSION).scalar()
        return found

    @override
    def changes(self, triggers: Collection[Trigger], most: int) -> FeedPage:
        # Every change up to here is committed and visible: writers of the feed take turns.
        last = int(self._connection.execute(LAST).scalar_one())
        kinds = [kind for kind, trigger in TRIGGERS.items() if trigger in triggers]
        values = {"kinds": kinds, "after": self._after, "last": last, "most": most}
        found = [_to_change(row) for row in self._connection.execute(CHANGES, values)]
        whole = len(found) < most
        return FeedPage(found, last if whole else found[-1].sequence, whole)

    @override
    def finish(self, decisions: Sequence[RuleDecision], until: int) -> None:
        for decision in decisions:
            self._add(decision)
        advance(self._connection, CONSUMER, until)
        self._session.commit()


class PostgresBatchTurn(PostgresRoutingTransaction, BatchTurn):
    """One transaction that holds a batch."""

    def __init__(self, session: Session, row: Row[Any]) -> None:
        super().__init__(session)
        self.batch = RunningBatch(row.id, row.routing_version, row.rules, row.criteria)
        self._position = row.position
        self._until = row.until

    @override
    def step(self, criteria: BatchCriteria, most: int) -> ArchiveStep:
        return next_series(
            self._connection, criteria, after=self._position, until=self._until, most=most
        )

    @override
    def finish(self, decisions: Sequence[RuleDecision], step: ArchiveStep) -> None:
        for decision in decisions:
            self._add(decision)
        values = {
            "id": self.batch.id,
            "position": step.reached,
            "series": len(step.series),
            "deliveries": sum(len(decision.deliveries) for decision in decisions),
            "state": "complete" if step.last else "running",
        }
        self._connection.execute(MOVE_BATCH, values)
        self._session.commit()

    @override
    def fail(self, error: str) -> None:
        self._connection.execute(FAIL_BATCH, {"id": self.batch.id, "error": error})
        self._session.commit()


class PostgresPostponedTurn(PostgresRoutingTransaction, PostponedTurn):
    """One transaction that holds decisions that are looked at again."""

    def __init__(self, session: Session, most: int) -> None:
        super().__init__(session)
        values = {"most": most, "limit": LOOK_AGAIN_LIMIT_SECONDS}
        self.decisions = [_to_postponed(row) for row in self._connection.execute(POSTPONED, values)]

    @override
    def finish(self, found: Mapping[int, RuleDecision | None]) -> None:
        for number, decision in found.items():
            if decision is not None:
                self._add_deliveries(number, _about(decision), decision)
                values = {
                    "decision": number,
                    "applied": list(decision.applied),
                    "undecided": list(decision.undecided),
                }
                self._connection.execute(DECIDE_AGAIN, values)
            if decision is None or not decision.postponed:
                self._connection.execute(FORGET_POSTPONED, {"decision": number})
        for one in self.decisions:
            if one.id not in found:
                self._postpone(one.id)
        self._session.commit()


def _about(decision: RuleDecision) -> dict[str, str]:
    return {
        "study": decision.study_instance_uid,
        "series": decision.series_instance_uid,
        "sop": decision.sop_instance_uid,
    }


def _to_postponed(row: Row[Any]) -> PostponedDecision:
    why = None
    if row.occurred_at is not None:
        why = Occasion(row.occurred_at, row.reason, row.new_instance_count or 1)
    return PostponedDecision(
        row.id,
        row.routing_version,
        Trigger(row.trigger),
        row.uid,
        row.applied,
        row.destinations,
        row.rules,
        why,
        row.late,
    )


def _to_change(row: Row[Any]) -> FeedChange:
    why = Occasion(row.occurred_at, row.reason, row.new_instance_count or 1)
    return FeedChange(row.sequence, TRIGGERS[row.kind], row.uid, why)
