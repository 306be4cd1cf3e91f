"""A node in memory that answers as it likes, and the index into which it sends.

It stands where the use cases see associations and tables (`QueryPeers`, `MovePeers`, `GetPeers`,
`ItemRepository`), so that thousands of nodes cost seconds. What the node really has is `objects`;
how it answers about them is in its attributes, one for each way of being wrong.
"""
# ruff: noqa: ARG002 - the ports' arguments

import random
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from draw_qr_worker.models import (
    ArrivalCounts,
    Fetched,
    FindEnd,
    RemoteRetrieveEnd,
    StatusPermanent,
    SubOperationCounts,
    Unlisted,
)

UNIQUE = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
NUMBERS = {
    "NumberOfPatientRelatedStudies": ("PATIENT", "STUDY"),
    "NumberOfPatientRelatedInstances": ("PATIENT", "IMAGE"),
    "NumberOfStudyRelatedSeries": ("STUDY", "SERIES"),
    "NumberOfStudyRelatedInstances": ("STUDY", "IMAGE"),
    "NumberOfSeriesRelatedInstances": ("SERIES", "IMAGE"),
}
NEEDED = {"study": ("STUDY", "SERIES"), "patient": ("PATIENT", "STUDY", "SERIES")}
RANGES = ("StudyDate", "StudyTime")


KEYWORDS = (*UNIQUE.values(), *RANGES, "AccessionNumber", "Modality")


def rows_of(objects):
    """Return data sets as the objects of a generated node."""
    return [{keyword: str(one.get(keyword) or "") for keyword in KEYWORDS} for one in objects]


class Index:
    """Objects that are here and the items of one job, as the worker's tables show them."""

    def __init__(self, before=()):
        self.before = {one["SOPInstanceUID"]: one for one in before}
        self.came = {}
        self.received = set()
        self.rows = {}
        self.arrives_here = True

    def receive(self, one):
        uid = one["SOPInstanceUID"]
        self.received.add(uid)
        if uid not in self.before:
            self.came[uid] = one
        if uid in self.rows and self.arrives_here:
            self._mark({uid})

    def items(self, _job_id):
        return list(self.rows.values())

    def record(self, _lease, items, *, arrives_here, here_counts, none_of=()):
        self.arrives_here = arrives_here
        for uid in [u for u, row in self.rows.items() if row.study_instance_uid in none_of]:
            del self.rows[uid]
        for item in items:
            self.rows.setdefault(item.sop_instance_uid, item)
        if arrives_here and here_counts:
            self._mark({*self.before, *self.came})
        return self.items(None)

    def count_arrivals(self, _job_id, *, here_counts):
        if self.arrives_here and here_counts:
            self._mark({*self.before, *self.came})
        arrived = sum(item.arrived for item in self.rows.values())
        return ArrivalCounts(len(self.rows), arrived, 10 * arrived)

    def mark(self, _lease, *, all_but):
        self._mark(self.rows.keys() - set(all_but))

    def unlisted(self, _job_id, studies, series):
        def of(objects, study):
            return [
                one
                for uid, one in objects.items()
                if uid not in self.rows
                and one["StudyInstanceUID"] == study
                and series in {"", one["SeriesInstanceUID"]}
            ]

        found = {}
        for study in studies:
            since = len(of(self.came, study))
            found[study] = Unlisted(since, 10 * since, since + len(of(self.before, study)))
        return found

    def _mark(self, uids):
        for uid in set(uids) & self.rows.keys():
            self.rows[uid] = replace(self.rows[uid], arrived=True)


@dataclass
class GeneratedNode:
    """Has `objects` (dicts by keyword); everything else is how it answers."""

    objects: list
    index: Index
    accepted: frozenset = frozenset({"study"})
    limits: dict = field(default_factory=dict)
    """By level: matches after which it stops."""
    says_so: bool = False
    """Whether it then ends with a status that says so."""
    numbers: dict = field(default_factory=dict)
    """By keyword: what is said of the true number; absent: nothing is said."""
    refused: frozenset = frozenset()
    """Levels that are refused."""
    empty: frozenset = frozenset()
    """Levels that are answered with success and nothing."""
    ignored: frozenset = frozenset()
    """Keys that it does not match by."""
    prefixes: bool = False
    """Whether it takes the Patient ID as a prefix."""
    left_out: frozenset = frozenset()
    """Attributes that it does not return."""
    doubled: bool = False
    nameless: bool = False
    """Whether it adds matches without a unique key."""
    shuffle: random.Random | None = None
    withheld: frozenset = frozenset()
    """SOP instances that it does not send."""
    counts: str = "honest"
    """How it counts what it withholds: honest (failed), lied (completed), dropped or none."""
    asked: list = field(default_factory=list)
    moved: list = field(default_factory=list)

    @property
    def models(self):
        return self.accepted

    @contextmanager
    def finder(self, _node, _supervision):
        self.own = _node.query_model
        yield self

    def find(self, level, keys, take, *, model="", enough=lambda: False):
        model = model or self.own
        self.asked.append((model, level, dict(keys)))
        self._require(model, level, keys)
        rows = [] if level in self.empty else self._rows(level, keys)
        if self.shuffle:
            self.shuffle.shuffle(rows)
        limit = self.limits.get(level, 0)
        cut = bool(limit) and len(rows) > limit
        rows = self._untidy(level, rows[: limit or None])
        for sent, row in enumerate(rows, 1):
            take(row)
            if enough():
                return FindEnd(sent, True, "Cancelled (0xFE00)")
        return FindEnd(len(rows), cut and self.says_so and bool(rows), "Success (0x0000)")

    def _require(self, model, level, keys):
        levels = NEEDED.get(model, ())
        above = levels[: levels.index(level)] if level in levels else levels
        if level in self.refused or not all(keys.get(UNIQUE[each]) for each in above):
            raise StatusPermanent("no")

    def _untidy(self, level, rows):
        if self.doubled:
            rows = [*rows, *rows[:2]]
        if self.nameless and rows:
            rows = [*rows, {**rows[0], UNIQUE[level]: ""}]
        return rows

    def move(self, _node, level, keys, *, destination, supervision, progress, alive):
        return self._retrieved(level, keys, progress, lambda _: None)

    def get(
        self,
        _node,
        level,
        keys,
        *,
        sop_classes,
        further_classes,
        supervision,
        progress,
        stored,
    ):
        def tell(one):
            series = one["SeriesInstanceUID"]
            stored(Fetched(one["StudyInstanceUID"], one["SOPInstanceUID"], 10, series))

        return self._retrieved(level, keys, progress, tell)

    def remember(self, _node_id, _found):
        """Forget it."""

    def _retrieved(self, level, keys, progress, tell):
        self.moved.append((level, dict(keys)))
        named = [
            one
            for one in self.objects
            if all(one[k] in _values(keys[k]) for k in UNIQUE.values() if keys.get(k))
        ]
        failed = []
        for one in named:
            if one["SOPInstanceUID"] in self.withheld:
                failed.append(one["SOPInstanceUID"])
            else:
                self.index.receive(one)
                tell(one)
        sent = len(named) - len(failed)
        counts = {
            "honest": SubOperationCounts(0, sent, len(failed), 0),
            "lied": SubOperationCounts(0, len(named), 0, 0),
            "dropped": SubOperationCounts(0, sent, 0, 0),
            "none": SubOperationCounts(),
        }[self.counts]
        progress(counts)
        honest = self.counts == "honest"
        return RemoteRetrieveEnd(0, "Success (0x0000)", counts, tuple(failed) if honest else ())

    def _rows(self, level, keys):
        found = defaultdict(list)
        for one in self.objects:
            if all(self._matches(key, value, one) for key, value in keys.items()):
                found[one[UNIQUE[level]]].append(one)
        return [self._row(level, of) for of in found.values()]

    def _row(self, level, of):
        upto = list(UNIQUE)[: list(UNIQUE).index(level) + 1]
        row = {UNIQUE[each]: of[0][UNIQUE[each]] for each in upto}
        if level == "STUDY":
            row |= {k: of[0][k] for k in (*RANGES, "AccessionNumber")}
        if level == "IMAGE":
            row["SOPClassUID"] = "9"
        for keyword, (above, below) in NUMBERS.items():
            if keyword in self.numbers and above in upto:
                same = {
                    one[UNIQUE[below]]
                    for one in self.objects
                    if one[UNIQUE[above]] == of[0][UNIQUE[above]]
                }
                row[keyword] = str(self.numbers[keyword](len(same)))
        return {k: v for k, v in row.items() if k not in self.left_out}

    def _matches(self, key, value, one):
        if not value or key in self.ignored or key in NUMBERS or key not in one:
            return True
        if key in RANGES:
            first, dash, last = value.partition("-")
            if not dash:
                return one[key] == value
            return (not first or first <= one[key]) and (
                not last or one[key] <= last[:6] or (key == "StudyDate" and one[key] <= last)
            )
        if key == "PatientID" and self.prefixes:
            return one[key].startswith(value)
        return one[key] in _values(value)


def _values(value):
    return [value] if isinstance(value, str) else list(value)
