"""Our identity in associations and in files (PS3.7 D.3.3.2)."""

from typing import Final

IMPLEMENTATION_CLASS_UID: Final = "2.25.170926117529342127861302719362146820017"
IMPLEMENTATION_VERSION: Final = "DRAW_DICOM_1"
PRIVATE_INFORMATION_CREATOR: Final = "2.25.170926117529342127861302719362146820018"
"""Creator (0002,0100) of the provenance in (0002,0102) of the file meta group."""
