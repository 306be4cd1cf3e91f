"""Rules that many departments begin with; each is a document's rule, to be named and changed."""

from dataclasses import dataclass
from typing import Final

from draw_shared.routing.document import RoutingRule
from draw_shared.wording import message

LOCALIZERS: Final = "topogram|scout|scanogram|surview|localizer"


@dataclass(frozen=True, slots=True)
class Preset:
    """A rule to begin with."""

    title: str
    rule: RoutingRule


def _rule(**fields: object) -> RoutingRule:
    return RoutingRule.model_validate(fields)


PRESETS: Final = (
    Preset(
        message("Planning CT without localizer"),
        _rule(
            name="Planning CT without localizer",
            when={
                "all": [
                    {"subject": "Modality", "operator": "equals", "value": "CT"},
                    *(
                        {"not": {"subject": one, "operator": "matches", "value": LOCALIZERS}}
                        for one in ("SeriesDescription", "ImageType")
                    ),
                ]
            },
            destinations=["contouring"],
        ),
    ),
    Preset(
        message("RT objects back to the planning system"),
        _rule(
            name="RT objects back to the planning system",
            when={
                "subject": "Modality",
                "operator": "is_one_of",
                "value": ["RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "REG"],
            },
            destinations=["planning"],
        ),
    ),
    Preset(
        message("Everything of one scanner"),
        _rule(
            name="Everything of one scanner",
            when={"subject": "calling_ae", "operator": "equals", "value": "CT_SCANNER"},
            destinations=["archive"],
        ),
    ),
)
