"""Rebuilds the index from the files: announces each as it was after its reception.

Every file records its sender and time of reception, so the indexers make the same rows of it as the
first time. All indexers share the work while receiving continues. Objects that were deleted after
their reception are not indexed again; their remaining files are removed.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from draw_api.models.upkeep import FoundFile, Rebuilt
from draw_api.ports.reconcile import StoredFiles
from draw_api.ports.reindex import Announcements, SuspectRepository

AT_ONCE: Final = 200


class ReindexService:
    """Announces stored objects again."""

    def __init__(
        self, files: StoredFiles, announcements: Announcements, progress: Callable[[Rebuilt], None]
    ) -> None:
        self._files = files
        self._announcements = announcements
        self._progress = progress

    def run(self) -> Rebuilt:
        """Announce every object on the volume.

        Raises:
            Transient: the broker went away; repeating it from the beginning does no harm.
        """
        return self.announce(self._files.found())

    def reread(self, suspects: SuspectRepository) -> Rebuilt:
        """Have the objects of suspect rows read again, and the rows corrected.

        Raises:
            Transient: the broker went away; repeating it from the beginning does no harm.
        """
        done = Rebuilt()
        for events in suspects.objects():
            for event in events:
                self._announcements.publish(event)
            done.announced += len(events)
            done.size_bytes += sum(event.size_bytes for event in events)
            self._progress(done)
        self._announcements.finish()
        return done

    def announce(self, files: Iterable[FoundFile]) -> Rebuilt:
        """Announce these objects."""
        done = Rebuilt()
        waiting = iter(files)
        while batch := list(islice(waiting, AT_ONCE)):
            came = self._announcements.announce([file.path for file in batch])
            done.unreadable += came.unreadable
            done.deleted += len(came.deleted)
            done.returned |= came.returned
            left = {*came.unreadable, *came.deleted}
            done.announced += len(batch) - len(left)
            done.size_bytes += sum(file.size_bytes for file in batch if file.path not in left)
            self._progress(done)
        self._announcements.finish()
        return done
