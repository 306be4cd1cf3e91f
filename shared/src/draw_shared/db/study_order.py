"""The order of studies in lists."""

from typing import Final

STUDIED_AT: Final = (
    "coalesce(study_date + coalesce(study_time, '00:00:00'::time), '-infinity'::timestamp)"
)
"""When a study was made; before all others if it does not say so. An index has this expression."""
