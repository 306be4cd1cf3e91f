"""Decides which version of a SOP instance is current, in whatever order messages arrive.

Versions with one SOP Instance UID differ in their bytes. Under `keep_existing` the one received
first is current, under `replace` the one received last; the order of reception decides, not that of
indexing. A version that was received several times counts with its first reception under
`keep_existing` and with its last under `replace`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from draw_indexer.models import (
    AnnouncedObject,
    Arrival,
    CurrentVersion,
    Reason,
    Verdict,
    VersionConflict,
)
from draw_shared.contracts.server_config import DuplicatePolicy

Rank = tuple[datetime, str, str]


class Versions:
    """The rule of one duplicate policy."""

    def __init__(self, policy: DuplicatePolicy) -> None:
        self.latest = policy is DuplicatePolicy.REPLACE
        self.reason = Reason.REPLACED if self.latest else Reason.KEPT

    def before(self, one: str, other: str) -> bool:
        """Return whether the source `one` takes precedence over `other`."""
        return one > other if self.latest else one < other

    def judge(self, known: CurrentVersion | None, arrivals: Iterable[Arrival]) -> Verdict:
        """Return what the arrivals of one SOP Instance UID change, given the known version."""
        best = self._of_each_version(arrivals)
        verdict = self._choose(known, best)
        current = verdict.current.stored if verdict.current else None
        current_hash = current.content_sha256 if current else known and known.content_sha256
        aside: dict[str, VersionConflict] = {}
        if verdict.displaced is not None:
            aside[verdict.displaced.content_sha256] = self._known_aside(verdict.displaced)
        home = _home(current, known)
        for arrival in best.values():
            stored = arrival.stored
            if stored.content_sha256 != current_hash:
                self._put_aside(aside, conflict_of(stored, self.reason))
            if (stored.study_instance_uid, stored.series_instance_uid) == home:
                verdict.describing.append(arrival)
        verdict.set_aside.extend(aside.values())
        return verdict

    def _choose(self, known: CurrentVersion | None, best: Mapping[str, Arrival]) -> Verdict:
        """Return which version to write as the current one, if any."""
        winner = self._first(best.values())
        if known is None:
            return Verdict(current=winner, fresh=True)
        if self._outranks(winner.stored, known):
            if known.content_sha256 != winner.stored.content_sha256:
                return Verdict(current=winner, fresh=True, displaced=known)
            return Verdict(current=_at_known_path(winner, known))
        same = best.get(known.content_sha256)
        if same is not None and (
            same.stored.reread
            or not known.person_known
            or same.stored.study_instance_uid != known.study_instance_uid
        ):
            # The object must be read again, or an earlier release did not store its person or, when
            # its series moved to another study, its study.
            found = _at_known_path(same, known)
            stored = replace(found.stored, received_at=known.received_at)
            return Verdict(current=replace(found, stored=stored))
        return Verdict()

    def _put_aside(self, aside: dict[str, VersionConflict], conflict: VersionConflict) -> None:
        """Keep, for one version, the reception that counts."""
        held = aside.get(conflict.content_sha256)
        if held is not None:
            one, other = (conflict.received_at, conflict.path), (held.received_at, held.path)
            if not (one > other if self.latest else one < other):
                return
        aside[conflict.content_sha256] = conflict

    def _of_each_version(self, arrivals: Iterable[Arrival]) -> dict[str, Arrival]:
        best: dict[str, Arrival] = {}
        for arrival in arrivals:
            held = best.get(arrival.stored.content_sha256)
            if held is None or self._first((held, arrival)) is arrival:
                best[arrival.stored.content_sha256] = arrival
        return best

    def _first(self, arrivals: Iterable[Arrival]) -> Arrival:
        choose = max if self.latest else min
        return choose(arrivals, key=lambda arrival: _rank(arrival.stored))

    def _outranks(self, stored: AnnouncedObject, known: CurrentVersion) -> bool:
        one, other = _rank(stored), _rank(known)
        return one > other if self.latest else one < other

    def _known_aside(self, known: CurrentVersion) -> VersionConflict:
        return VersionConflict(
            known.sop_instance_uid,
            known.study_instance_uid,
            known.path,
            known.size_bytes,
            known.content_sha256,
            self.reason,
            known.calling_ae,
            known.received_at,
        )


def conflict_of(stored: AnnouncedObject, reason: Reason) -> VersionConflict:
    """Return the record of an object that contradicts the index."""
    return VersionConflict(
        stored.sop_instance_uid,
        stored.study_instance_uid,
        stored.path,
        stored.size_bytes,
        stored.content_sha256,
        reason,
        stored.calling_ae,
        stored.received_at,
    )


def _at_known_path(arrival: Arrival, known: CurrentVersion) -> Arrival:
    """Return the arrival with the path at which its bytes are already stored: readers hold it."""
    if arrival.stored.path == known.path:
        return arrival
    return replace(
        arrival, stored=replace(arrival.stored, path=known.path, size_bytes=known.size_bytes)
    )


def _rank(version: AnnouncedObject | CurrentVersion) -> Rank:
    return version.received_at, version.content_sha256, version.path


def _home(current: AnnouncedObject | None, known: CurrentVersion | None) -> tuple[str, str]:
    version = current or known
    if version is None:
        raise ValueError("neither an arrival nor a known version")
    return version.study_instance_uid, version.series_instance_uid
