"""Names of downloads that a person recognises and no file system minds."""

import unicodedata
from collections.abc import Sequence
from urllib.parse import quote

from draw_api.models.archive import Study
from draw_api.models.objects import archive_names


def archive_headers(studies: Sequence[Study]) -> dict[str, str]:
    """Return the headers of a ZIP archive of studies: it is called after patient and date."""
    names = archive_names(studies)
    name = names[0] if len(names) == 1 else f"{len(names)}_studies"
    bare = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().strip("_ ")
    disposition = f"attachment; filename=\"{bare or 'study'}.zip\"; filename*=UTF-8''"
    return {"Content-Disposition": f"{disposition}{quote(f'{name}.zip', safe='')}"}
