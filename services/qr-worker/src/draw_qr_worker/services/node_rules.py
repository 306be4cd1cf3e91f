"""Decides whether a node may be used now: active, paused, windows, circuit, parallel jobs.

A node that refuses an association for congestion gets fewer at a time. After every minute without
such a refusal it gets one more, up to its configured limit.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from draw_qr_worker.models import Circuit, Congestion, NodeWindow, RemoteNode

FAILURES_THAT_OPEN: Final = 5
CIRCUIT_OPEN_SECONDS: Final = (60.0, 120.0, 300.0, 600.0)
"""How long the circuit stays open after the fifth, sixth, seventh ... failure in a row."""

RECOVERY_INTERVAL_SECONDS: Final = 60.0
"""How long a congested node is spared before it gets one more association."""

REST_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""How long a node rests that refuses our only association: others hold all its places."""

DAYS_AHEAD: Final = 8


def window_is_open(windows: Sequence[NodeWindow], local: datetime) -> bool:
    """Return whether `local` is inside a window; without windows it always is."""
    return not windows or any(_contains(window, local) for window in windows)


def _contains(window: NodeWindow, local: datetime) -> bool:
    now = local.time()
    if window.start < window.end:
        return local.weekday() in window.days and window.start <= now < window.end
    # After midnight the window still belongs to the day on which it began.
    yesterday = (local.weekday() - 1) % 7
    return (local.weekday() in window.days and now >= window.start) or (
        yesterday in window.days and now < window.end
    )


def next_opening(windows: Sequence[NodeWindow], local: datetime) -> datetime:
    """Return the first moment from `local` on that is inside a window.

    Raises:
        ValueError: the windows name no day.
    """
    if window_is_open(windows, local):
        return local
    openings = (
        datetime.combine(local.date() + timedelta(days=ahead), window.start, local.tzinfo)
        for ahead in range(DAYS_AHEAD)
        for window in windows
        if (local.weekday() + ahead) % 7 in window.days
    )
    return min(opening for opening in openings if opening > local)


def circuit_after_failure(circuit: Circuit, now: datetime) -> Circuit:
    """Return the circuit after one more failure in a row."""
    failures = circuit.failures + 1
    beyond = failures - FAILURES_THAT_OPEN
    if beyond < 0:
        return Circuit(failures)
    seconds = CIRCUIT_OPEN_SECONDS[min(beyond, len(CIRCUIT_OPEN_SECONDS) - 1)]
    return Circuit(failures, now + timedelta(seconds=seconds))


def closed_until(node: RemoteNode, now: datetime) -> datetime | None:
    """Return when circuit and window let the node be used again; None if they do now."""
    moment = now
    if node.circuit.open_until is not None:
        moment = max(moment, node.circuit.open_until)
    moment = next_opening(node.windows, moment)
    return moment if moment > now else None


def congestion_after_refusal(
    congestion: Congestion | None, running: int, now: datetime
) -> Congestion:
    """Return the congestion after the node refused one of our `running` jobs."""
    if running > 1:
        return Congestion(running - 1, now)
    refusals = congestion.refusals + 1 if congestion else 1
    seconds = REST_SECONDS[min(refusals, len(REST_SECONDS)) - 1]
    return Congestion(1, now, refusals, now + timedelta(seconds=seconds))


def relieve_congestion(node: RemoteNode, now: datetime) -> Congestion | None:
    """Return the congestion with a limit raised by one if it is due; None if it has ended."""
    held = node.congestion
    if held is None or now - held.changed_at < timedelta(seconds=RECOVERY_INTERVAL_SECONDS):
        return held
    return Congestion(held.limit + 1, now) if held.limit + 1 < node.max_associations else None


def limit_of(node: RemoteNode) -> int:
    """Return how many associations the node may get at a time."""
    taken = node.congestion.limit if node.congestion else node.max_associations
    return min(taken, node.max_associations)


def free_places(node: RemoteNode, running: int) -> int:
    """Return how many more jobs may run against the node.

    A circuit whose time is over admits one job; its result closes or opens the circuit.
    """
    limit = 1 if node.circuit.open_until is not None else limit_of(node)
    return max(0, limit - running)


def _rests(node: RemoteNode, now: datetime) -> bool:
    until = node.congestion.rest_until if node.congestion else None
    return until is not None and until > now


def usable_nodes(
    nodes: Sequence[RemoteNode], running: Mapping[int, int], now: datetime
) -> tuple[list[int], list[int]]:
    """Return the ids of the nodes that any job, and that a test, may use now."""
    with_place = [
        node for node in nodes if limit_of(node) > running.get(node.id, 0) and not _rests(node, now)
    ]
    work = [
        node.id
        for node in with_place
        if node.active
        and not node.paused
        and free_places(node, running.get(node.id, 0))
        and closed_until(node, now) is None
    ]
    return work, [node.id for node in with_place]
