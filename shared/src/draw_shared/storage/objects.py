"""Makes received objects durable: an acknowledged object is on stable storage.

The order of the steps is the promise:
1. write and sync the file as `spool/<replica>/<id>.part`;
2. rename it to `<id>.dcm`, the spool entry;
3. link the entry to the final name, never over an existing file;
4. sync the spool folder. From here on the object survives any crash: the content is complete,
   and the entry says that the object still has to be linked and announced;
5. after the announcement, sync the folders of the final name, then remove the entry (`release`).
A crash before step 4 loses only an object that was not acknowledged; the peer sends it again.

Concurrency: any number of threads and child processes of one replica receive at the same time.
Threads share the sync of the spool folder: a sync that begins after several renames serves them
all. The lock of the spool folder keeps other replicas out.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

from draw_shared.contracts.server_config import FileNaming, StorageStructure
from draw_shared.dicom.encoding import part10
from draw_shared.dicom.encoding.part10 import FileMeta
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.errors import Permanent
from draw_shared.storage import layout
from draw_shared.storage.folder_sync import FolderSync, sync_folders
from draw_shared.storage.folders import keep_from_others
from draw_shared.storage.identification import identify
from draw_shared.storage.incoming import (
    OUT_OF_SPACE,
    RECEIVED_KEY,
    Incoming,
    NoSpace,
    received_time,
    spool_time,
)
from draw_shared.storage.latest_deletion import LatestDeletion
from draw_shared.storage.layout import Layout, ObjectIdentity
from draw_shared.storage.place_key import PlaceKey
from draw_shared.storage.recent_paths import RecentPaths, Sequence
from draw_shared.storage.spool import SpoolLock, remove_parts
from draw_shared.wording import message

HASH_CHUNK: Final = 1024 * 1024
LOCK_TIMEOUT_SECONDS: Final = 10.0
LINK_TRIES: Final = 20
CLAIM_NS: Final = 1000  # one microsecond: every file system stores it
LAYOUT_KEY: Final = "layout"
"""Provenance key: the layout by which the object was filed, as `<structure>/<naming>`."""


class UnsafePath(Permanent):
    """A path would leave the storage root."""


class Stored(NamedTuple):
    """One durable object; a tuple, because thousands per second go to another process."""

    entry: str
    """Its spool entry, released after the announcement."""
    path: str
    """Its final name, POSIX, relative to the storage root."""
    size_bytes: int
    content_sha256: str
    received_at: datetime
    meta: FileMeta
    identity: ObjectIdentity
    duplicate: bool
    """Whether the same bytes were already stored at `path`."""
    dated_ns: int = 0
    """Modification time at reception, by the volume's clock; 0 means that of the file."""


class ObjectStore:
    """The storage volume as one replica sees it."""

    name = "storage"

    def __init__(self, root: Path, replica: str) -> None:
        self.root = root
        self.spool = root / layout.SPOOL / replica
        self._root = str(root)
        self._spool = str(self.spool)
        self._lock = SpoolLock(self.spool)
        self._descriptor = -1
        self._sync = FolderSync(-1)
        self._sequence = Sequence()
        self._recent_paths = RecentPaths()
        self._latest_deletion = LatestDeletion(root)
        self._place_key = PlaceKey(root)

    def start(self) -> None:
        """Lock the spool folder and remove incomplete files from it.

        Raises:
            SpoolTaken: another process uses this replica's folder.
        """
        self.spool.mkdir(parents=True, exist_ok=True)
        # Deletions need these too; a full disk would have no room for them later.
        for name in (layout.OBJECTS, layout.CONFLICTS, layout.TRASH, layout.ANNOUNCED):
            (self.root / name).mkdir(exist_ok=True)
            keep_from_others(self.root / name)
        keep_from_others(self.spool.parent)
        self._latest_deletion.make()
        # Without room for the key, reception goes on and announcements wait.
        with suppress(OSError):
            self._place_key.make()
        self._lock.acquire(wait_seconds=LOCK_TIMEOUT_SECONDS)
        remove_parts(self.spool)
        self.join()
        # The new top folders must survive a power cut.
        sync_folders((str(self.root / layout.SPOOL), self._root))

    def join(self) -> None:
        """Use a spool folder that this process or its parent has locked."""
        self._descriptor = os.open(self.spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._sync = FolderSync(self._descriptor)

    @property
    def lock_descriptor(self) -> int:
        """The descriptor that holds the lock, for a child process that works in the folder."""
        return self._lock.descriptor

    def forget_parts(self, writer: str) -> None:
        """Remove the incomplete files of a child process that has ended."""
        remove_parts(self.spool, writer)

    def stop(self, deadline_seconds: float) -> None:  # noqa: ARG002 - closing takes no time
        """Release the spool folder."""
        os.close(self._descriptor)
        self._lock.release()

    def beat(self) -> None:
        """Show other replicas that this one is alive; call it every few seconds."""
        self._lock.beat()

    def begin(self, meta: FileMeta) -> Incoming:
        """Return a new object to write to; a small one stays in memory until it is complete."""
        return Incoming(self._spool, meta)

    def commit(self, incoming: Incoming, identity: ObjectIdentity, chosen: Layout) -> Stored:
        """Return once the object is durable under its final name.

        Raises:
            NoSpace: nothing is left behind.
        """
        digest = incoming.seal()
        entry, path, duplicate = incoming.entry, "", True
        try:
            # The file is written, but it is neither linked nor acknowledged yet.
            dated_ns = self._latest_deletion.date(entry)
            path, duplicate = self._give_name(entry, identity, chosen, incoming.received_at, digest)
            self._sync.sync()
        except OSError as error:
            # The object is not acknowledged: a leftover would make the retry a second copy.
            self._forget(entry, "" if duplicate else path)
            if error.errno in OUT_OF_SPACE:
                raise NoSpace(os.strerror(error.errno)) from error
            raise
        return Stored(
            entry,
            path,
            incoming.file_bytes,
            digest,
            incoming.received_at,
            incoming.meta,
            identity,
            duplicate,
            dated_ns,
        )

    def recover(self, entry: str, fallback: Layout) -> Stored:
        """Return a spool entry's object, read from its file; link it if needed.

        Raises:
            Undecodable: the file is damaged, or is none of ours.
            FileNotFoundError: it has been announced meanwhile.
        """
        with Path(entry).open("rb") as file:
            status = os.fstat(file.fileno())
            meta, offset = part10.decode(file.read(part10.MAX_META_BYTES))
            file.seek(offset)
            digest = hash_rest(file.read)
            identity = identify(
                lambda most: os.pread(file.fileno(), most, offset),
                status.st_size - offset,
                meta.transfer_syntax_uid,
            ).identity
        chosen = _layout_of(meta) or fallback
        received = received_at(meta, Path(entry).name)
        path, duplicate = "", True
        if status.st_nlink > 1:
            path = self._name_of(status.st_ino, identity, chosen, received)
        if not path:
            path, duplicate = self._give_name(entry, identity, chosen, received, digest)
        return Stored(
            entry,
            path,
            status.st_size,
            digest,
            received,
            meta,
            identity,
            duplicate,
            status.st_mtime_ns,
        )

    def relink(self, stored: Stored) -> bool:
        """Link an unannounced object again if its final name has vanished.

        Return whether it still has to be announced, that is, whether its spool entry exists.
        """
        try:
            links = os.stat(stored.entry).st_nlink  # noqa: PTH116 - thousands a second
        except FileNotFoundError:
            return False
        if links == 1 and not self.resolve(stored.path).exists():
            with suppress(FileNotFoundError):
                self._link(stored.entry, stored.path)
        return True

    def release(self, objects: Iterable[Stored]) -> None:
        """Make the final names durable, then remove the spool entries.

        Raises:
            OSError: the entries stay.
        """
        held = list(objects)
        sync_folders(self._folders(stored.path for stored in held))
        for stored in held:
            with suppress(FileNotFoundError):
                os.unlink(stored.entry)  # noqa: PTH108 - thousands a second

    def resolve(self, path: str) -> Path:
        """Return the file behind a stored path.

        Raises:
            UnsafePath: the file would be outside the storage root.
        """
        if path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise UnsafePath(message("a stored path leaves the storage root"))
        return self.root / path

    def _give_name(
        self,
        entry: str,
        identity: ObjectIdentity,
        chosen: Layout,
        received: datetime,
        digest: str,
    ) -> tuple[str, bool]:
        """Link `entry` to its final name; return (that name, whether it had the bytes already).

        Never overwrites: if the name is taken by other bytes, the next candidate is tried.
        """
        known = self._recent_paths.path_of(identity.sop_instance_uid, digest)
        if known and self._same(known, entry, identity, digest):
            return known, True
        folder = layout.folder(chosen.structure, identity, received)
        sequential = chosen.naming is FileNaming.SEQUENTIAL
        first = self._sequence.next_in(f"{self._root}/{folder}") if sequential else 1
        for path in layout.candidates(chosen.naming, folder, identity, received, digest, first):
            if not self._link(entry, path):
                if self._same(path, entry, identity, digest):
                    return path, True
                # A removal may have freed the name since.
                if not self._link(entry, path):
                    continue
            self._recent_paths.remember(identity.sop_instance_uid, digest, path)
            return path, False
        raise FileExistsError("no free name")

    def _link(self, entry: str, path: str) -> bool:
        target = f"{self._root}/{path}"
        for _ in range(LINK_TRIES):
            try:
                os.link(entry, target)
            except FileExistsError:
                return False
            except FileNotFoundError:
                # Empty folders may be removed at any time, even right after `mkdir`.
                if not Path(entry).exists():
                    raise
                with suppress(FileNotFoundError):
                    Path(target).parent.mkdir(parents=True, exist_ok=True)
            else:
                return True
        raise FileNotFoundError("the folder of an object vanishes again and again")

    def _same(self, path: str, entry: str, identity: ObjectIdentity, digest: str) -> bool:
        """Return whether `path` holds this SOP instance with the same data set."""
        existing = self.resolve(path)
        try:
            if existing.samefile(entry):
                return True
            with existing.open("rb") as file:
                meta, offset = part10.decode(file.read(part10.MAX_META_BYTES))
                if meta.sop_instance_uid != identity.sop_instance_uid:
                    return False
                file.seek(offset)
                return hash_rest(file.read) == digest and _claimed(file.fileno(), existing, entry)
        except (OSError, Undecodable):
            return False

    def _name_of(
        self, inode: int, identity: ObjectIdentity, chosen: Layout, received: datetime
    ) -> str:
        """Return the final name that an unannounced object has had since a crash, if any."""
        folder = layout.folder(chosen.structure, identity, received)
        for place in (folder, layout.CONFLICTS):
            with suppress(FileNotFoundError), os.scandir(f"{self._root}/{place}") as found:
                for entry in found:
                    if entry.inode() == inode:
                        return f"{place}/{entry.name}"
        return ""

    def _forget(self, entry: str, path: str) -> None:
        for name in (entry, path and f"{self._root}/{path}"):
            if name:
                with suppress(OSError):
                    Path(name).unlink()

    def _folders(self, paths: Iterable[str]) -> set[str]:
        """Return the folders of these paths and their parents below the root."""
        found: set[str] = set()
        for path in paths:
            folder = path.rpartition("/")[0]
            while folder and f"{self._root}/{folder}" not in found:
                found.add(f"{self._root}/{folder}")
                folder = folder.rpartition("/")[0]
        return found


def _claimed(descriptor: int, path: Path, entry: str) -> bool:
    """Claim a file for `entry` by its modification time; return whether the file still exists.

    The removal of a deleted object's file renames the file first and then checks for a claim,
    so at least one side sees the other (`draw_shared.storage.removal`).
    """
    # The time must move forward, or the removal would not see the claim.
    received = os.stat(entry).st_mtime_ns  # noqa: PTH116 - the receive path counts calls
    wanted = max(received, os.fstat(descriptor).st_mtime_ns + CLAIM_NS)
    os.utime(descriptor, ns=(wanted, wanted))
    held, named = os.fstat(descriptor), path.stat()
    return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino)


def received_at(meta: FileMeta, name: str) -> datetime:
    """Return when an object was received, from its file meta group or else its spool name.

    Raises:
        ValueError: neither contains the time.
    """
    recorded = meta.provenance.get(RECEIVED_KEY)
    return received_time(recorded) if isinstance(recorded, int) else spool_time(name)


def _layout_of(meta: FileMeta) -> Layout | None:
    structure, _, naming = str(meta.provenance.get(LAYOUT_KEY, "")).partition("/")
    try:
        return Layout(StorageStructure(structure), FileNaming(naming))
    except ValueError:
        return None


def hash_rest(read: Callable[[int], bytes]) -> str:
    """Return the SHA-256 of all remaining bytes of `read`."""
    digest = hashlib.sha256()
    while chunk := read(HASH_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
