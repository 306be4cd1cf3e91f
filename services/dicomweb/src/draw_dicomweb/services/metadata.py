"""Metadata of studies, series and instances, kept as one document for each series (PS3.18 10.4).

A document is made when a series is complete or somebody asks, and kept with the state of the series
that it was made from. Whoever asks compares that state with the present one, so an answer is never
older than the question. URIs of bulk data in a kept document are relative to its series; for other
addresses they are prolonged.
"""

import gzip
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from draw_dicomweb.models import SeriesState, UidPath
from draw_dicomweb.ports.metadata import MetadataReader, MetadataRepository
from draw_dicomweb.ports.objects import ObjectIndex
from draw_shared.contracts.failures import NotFound
from draw_shared.wording import message

COMPRESSION: Final = 3
"""A fifth of the length in a few milliseconds; more takes long and gains little."""
BULK_BEGIN: Final = b'"BulkDataURI":"instances/'


class MetadataWork(Protocol):
    """What one transaction provides."""

    @property
    def index(self) -> ObjectIndex:
        """The current objects."""

    @property
    def metadata(self) -> MetadataRepository:
        """Documents of series."""


@dataclass(frozen=True, slots=True)
class MetadataAnswer:
    """A document and how it is to be told from others."""

    etag: str
    content: bytes
    compressed: bool
    """Whether `content` is in the format of gzip."""


class MetadataService:
    """Makes, keeps and hands out documents."""

    def __init__(
        self, work: Callable[[], AbstractContextManager[MetadataWork]], reader: MetadataReader
    ) -> None:
        self._work = work
        self._reader = reader

    def answer(self, named: UidPath, known: frozenset[str], *, gzip_taken: bool) -> MetadataAnswer:
        """Return the metadata of what an address names.

        Args:
            named: a study, a series or an instance.
            known: entity tags that the client has; for one of them the content is empty.
            gzip_taken: whether the client takes the content compressed.

        Raises:
            NotFound: the index has none of it.
        """
        with self._work() as work:
            states = work.metadata.states(named)
            if not states:
                raise NotFound(message("The index has nothing of this."))
            etag = _etag(named, states)
            if etag in known:
                return MetadataAnswer(etag, b"", compressed=False)
            if named.instance:
                return MetadataAnswer(etag, self._of_instance(work, named), compressed=False)
            kept = [
                work.metadata.document(one.series_pk) if one.kept == one.state else None
                for one in states
            ]
        made = [
            document or self.make(UidPath(named.study, one.series_instance_uid))
            for document, one in zip(kept, states, strict=True)
        ]
        if named.series and gzip_taken:
            return MetadataAnswer(etag, made[0], compressed=True)
        plain = [gzip.decompress(one) for one in made]
        if named.series:
            return MetadataAnswer(etag, plain[0], compressed=False)
        return MetadataAnswer(etag, _joined(states, plain), compressed=False)

    def make(self, named: UidPath) -> bytes:
        """Make the document of a series anew, keep it and return it, compressed."""
        with self._work() as work:
            states = work.metadata.states(named)
            objects = work.index.objects(named)
        document = gzip.compress(self._reader.document(objects), COMPRESSION)
        if states:
            with self._work() as work:
                # Kept by the state before it was read: what came since makes it old at once.
                work.metadata.keep(states[0].series_pk, states[0].state, document)
        return document

    def _of_instance(self, work: MetadataWork, named: UidPath) -> bytes:
        objects = work.index.objects(named)
        if not objects:
            raise NotFound(message("The index has nothing of this."))
        return _prolonged(self._reader.document(objects), "../../")


def _etag(named: UidPath, states: Sequence[SeriesState]) -> str:
    digest = hashlib.sha256(named.instance.encode())
    for one in states:
        digest.update(f"{one.series_instance_uid} {one.state}\n".encode())
    return f'"{digest.hexdigest()[:32]}"'


def _joined(states: Sequence[SeriesState], documents: Sequence[bytes]) -> bytes:
    parts = [
        _prolonged(document, f"series/{one.series_instance_uid}/")[1:-1]
        for one, document in zip(states, documents, strict=True)
    ]
    return b"[" + b",".join(part for part in parts if part) + b"]"


def _prolonged(document: bytes, way: str) -> bytes:
    """Return a document whose URIs are relative to another address."""
    begin = BULK_BEGIN.replace(b"instances/", f"{way}instances/".encode())
    return document.replace(BULK_BEGIN, begin)
