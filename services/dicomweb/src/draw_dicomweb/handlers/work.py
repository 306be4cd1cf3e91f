"""The use cases of one request, all in the same transaction."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from draw_dicomweb.ports.metadata import MetadataRepository
from draw_dicomweb.ports.objects import ObjectIndex
from draw_dicomweb.ports.store import StoreLog
from draw_dicomweb.services.retrieve import ObjectRetrieveService
from draw_shared.access.authentication import Authentication


@dataclass(frozen=True, slots=True)
class DicomwebWork:
    """The use cases of one request."""

    authentication: Authentication
    retrieve: ObjectRetrieveService
    index: ObjectIndex
    metadata: MetadataRepository
    store_log: StoreLog


DicomwebWorkFactory = Callable[[], AbstractContextManager[DicomwebWork]]
"""Opens a transaction; leaving it without an exception commits."""
