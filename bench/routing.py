"""CPU time of one evaluation of 50 rules of 10 conditions, and of its explanation.

Every condition of the document is different, and every rule is looked at to its last condition.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from draw_shared.routing.document import RoutingDocument, Trigger
from draw_shared.routing.evaluation import Evaluator
from draw_shared.routing.facts import ArrivalFacts, RoutingFacts

RULES: Final = 50
ROUNDS: Final = 2000
LIMIT_MS: Final = 0.5


def document() -> RoutingDocument:
    """Return the rules."""
    folders = [
        {"kind": "folder", "name": f"to {number}", "path": f"/var/lib/handlers/{number}"}
        for number in range(RULES)
    ]
    rules = [_rule(number) for number in range(RULES)]
    return RoutingDocument.read({"destinations": folders, "rules": rules})


def facts() -> RoutingFacts:
    """Return what is known about a planning CT of 300 images."""
    return RoutingFacts(
        trigger=Trigger.SERIES_COMPLETE,
        values={
            "Modality": ("CT",),
            "SeriesDescription": ("Thorax nativ 2.0 B31f",),
            "StudyDescription": ("Bestrahlungsplanung Thorax",),
            "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"),
            "BodyPartExamined": ("CHEST",),
            "Manufacturer": ("SIEMENS",),
            "StudyDate": ("20261130",),
            "SeriesNumber": ("3",),
            "PatientAge": ("064Y",),
        }
        | ArrivalFacts(
            calling_ae=("CT_SOMATOM",),
            called_ae=("DRAW_SCP",),
            address=("192.0.2.17",),
            reason="association_ended",
            instances=300,
            new_instances=300,
            size_bytes=157_000_000,
        ).values(),
        at=datetime(2026, 11, 30, 10, tzinfo=UTC),
    )


def main() -> None:
    """Print the figures as a table."""
    rules, known = document(), facts()
    evaluator = Evaluator(rules)
    size = len(json.dumps(rules.stored()))
    print(f"| {RULES} rules of 10 conditions, {size} characters | CPU ms |")
    print("| --- | --- |")
    rows: dict[str, tuple[Callable[[], Any], int]] = {
        f"evaluation (at most {LIMIT_MS})": (lambda: evaluator.evaluate(known), ROUNDS),
        "explanation": (lambda: evaluator.explain(known), ROUNDS // 10),
        "compilation of a version": (lambda: Evaluator(rules), ROUNDS // 100),
    }
    for name, (run, rounds) in rows.items():
        print(f"| {name} | {_milliseconds(run, rounds):.3f} |")


def _milliseconds(run: Callable[[], Any], rounds: int) -> float:
    run()
    begun = time.process_time()
    for _ in range(rounds):
        run()
    return (time.process_time() - begun) / rounds * 1000


def _rule(number: int) -> dict[str, Any]:
    conditions = [
        {"subject": "Modality", "operator": "not_equals", "value": f"M{number}"},
        {"subject": "SeriesDescription", "operator": "does_not_contain", "value": f"no {number}"},
        {
            "subject": "StudyDescription",
            "operator": "contains",
            "value": "Thorax"[: number % 6 + 1],
        },
        {"subject": "ImageType", "operator": "does_not_contain", "value": f"LOCALIZER{number}"},
        {"subject": "instances", "operator": ">", "value": number},
        {"subject": "calling_ae", "operator": "is_one_of", "value": [f"A{number}", "CT_SOMATOM"]},
        {"subject": "StudyDate", "operator": ">=", "value": f"2024{number % 12 + 1:02}01"},
        {"subject": "PatientAge", "operator": ">=", "value": f"{number:03}M"},
        {"subject": "SeriesNumber", "operator": "<", "value": 100 + number},
        {
            "not": {
                "subject": "SeriesDescription",
                "operator": "matches",
                "value": f"topogram|scout{number}",
            }
        },
    ]
    return {"name": f"rule {number}", "when": {"all": conditions}, "destinations": [f"to {number}"]}


if __name__ == "__main__":
    main()
