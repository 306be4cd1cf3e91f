"""Takes note of files that stay, and whose name was taken while they were out of the way."""

from sqlalchemy import Connection

from draw_shared.db.deletion import LeftFile, record_left
from draw_shared.storage.removal import FileMark, StorageFiles


def record_refuge(
    connection: Connection, files: StorageFiles, study_instance_uid: str, meant: FileMark
) -> None:
    """Record such a file as a copy; whether it is one is found out when it is compared."""
    path = files.refuge(meant)
    content = files.content(path)
    if content is not None and content.content_sha256:
        copy = LeftFile(path, content.sop_instance_uid, study_instance_uid, content.content_sha256)
        record_left(connection, [], [copy], files)
