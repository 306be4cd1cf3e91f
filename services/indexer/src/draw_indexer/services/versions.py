"""Which version of a SOP instance is current: same rows whatever the order of events.

Versions with one SOP Instance UID differ in their bytes. Under `keep_existing` the one
received first is current, under `replace` the one received last; the order of reception
decides, not that of indexing. A version received several times counts with its first
reception under `keep_existing` and with its last under `replace`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from draw_indexer.models import AnnouncedObject, Arrival, Known, Reason, Verdict, VersionConflict
from draw_shared.contracts.server_config import DuplicatePolicy

Rank = tuple[datetime, str, str]


class Versions:
    """The rule of one duplicate policy."""

    def __init__(self, policy: DuplicatePolicy) -> None:
        self.latest = policy is DuplicatePolicy.REPLACE
        self.reason = Reason.REPLACED if self.latest else Reason.KEPT

    def before(self, one: str, other: str) -> bool:
        """Return whether what the source `one` says goes before what `other` says."""
        return one > other if self.latest else one < other

    def judged(self, known: Known | None, arrivals: Iterable[Arrival]) -> Verdict:
        """Return what the arrivals of one SOP Instance UID mean beside what is known of it."""
        best = self._of_each_version(arrivals)
        verdict = self._chosen(known, best)
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

    def _chosen(self, known: Known | None, best: Mapping[str, Arrival]) -> Verdict:
        """Return which version is to be written as the current one, if any."""
        winner = self._first(best.values())
        if known is None:
            return Verdict(current=winner, fresh=True)
        if self._outranks(winner.stored, known):
            if known.content_sha256 != winner.stored.content_sha256:
                return Verdict(current=winner, fresh=True, displaced=known)
            return Verdict(current=_lying(winner, known))
        same = best.get(known.content_sha256)
        if same is not None and (
            same.stored.reread
            or not known.person_known
            or same.stored.study_instance_uid != known.study_instance_uid
        ):
            # It is to be read anew; or earlier releases did not keep whom it names, or, when
            # its series went to another study, which study.
            lying = _lying(same, known)
            stored = replace(lying.stored, received_at=known.received_at)
            return Verdict(current=replace(lying, stored=stored))
        return Verdict()

    def _put_aside(self, aside: dict[str, VersionConflict], conflict: VersionConflict) -> None:
        """Keep of one version the reception that counts."""
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

    def _outranks(self, stored: AnnouncedObject, known: Known) -> bool:
        one, other = _rank(stored), _rank(known)
        return one > other if self.latest else one < other

    def _known_aside(self, known: Known) -> VersionConflict:
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
    """Return the record of an object that contradicts what the index has."""
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


def _lying(arrival: Arrival, known: Known) -> Arrival:
    """Return the arrival as lying where its bytes lie already: readers hold that path."""
    if arrival.stored.path == known.path:
        return arrival
    return replace(
        arrival, stored=replace(arrival.stored, path=known.path, size_bytes=known.size_bytes)
    )


def _rank(version: AnnouncedObject | Known) -> Rank:
    return version.received_at, version.content_sha256, version.path


def _home(current: AnnouncedObject | None, known: Known | None) -> tuple[str, str]:
    version = current or known
    if version is None:
        raise ValueError("neither an arrival nor a known version")
    return version.study_instance_uid, version.series_instance_uid
