"""The newest sealed head of the transaction log, kept out of reach of the database's writers.

One small file, replaced as a whole. It reveals that the end of the log was cut off or that a
backup was restored: a database older than this file does not have the line.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from draw_shared.storage.file_replacement import replace_file

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SealedHead:
    """A line of the log by its place in the chain, with its hash and seal as hexadecimal text."""

    position: int
    chain_hash: str
    seal: str


class SealedHeadFile:
    """Reads and writes the file on behalf of one process."""

    def __init__(self, path: Path, writer: str) -> None:
        self.path = path
        self._writer = writer
        self._told = ""

    def kept(self) -> SealedHead | None:
        """Return the head in the file; an unreadable file is logged once."""
        reason, found = "", None
        try:
            read = json.loads(self.path.read_bytes())
            found = SealedHead(int(read["position"]), str(read["chain_hash"]), str(read["seal"]))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = type(error).__name__
        if reason and reason != self._told:
            log.error("transactions.kept_head_unreadable", file=str(self.path), reason=reason)
        self._told = reason
        return found

    def keep(self, head: SealedHead) -> None:
        """Write this head durably.

        Raises:
            OSError: the file keeps its old head.
        """
        document = asdict(head) | {"kept_at": datetime.now(UTC).isoformat(timespec="seconds")}
        replace_file(self.path, self._writer, json.dumps(document).encode() + b"\n")
