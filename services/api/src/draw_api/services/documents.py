"""What every document with versions has: a version in force, a history, and a way back.

A change is a new version with its author, its time and the whole document. Who changes one says
which version was read, so that nobody's change is lost to another's.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from draw_api.models.config import StoredVersion
from draw_api.models.paging import Page
from draw_api.ports.documents import DocumentRepository
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.failures import (
    Conflict,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from draw_shared.wording import message

ANY: Final = "*"
MAX_COMMENT_LENGTH: Final = 200


class Numbered(Protocol):
    """A version of a document."""

    @property
    def version(self) -> int:
        """Its number."""


Version = TypeVar("Version", bound=Numbered)
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class DocumentWords:
    """How one document is spoken of."""

    action: str
    """In the transaction log."""
    unknown: str
    """There is no such version."""
    unmatched: str
    """The client does not say which version it read."""
    outdated: str
    """Another version, `%(version)s`, is in force."""
    overtaken: str
    """Somebody else was faster by a moment."""


class DocumentService(ABC, Generic[Version, Entry]):
    """The versions of one document."""

    words: ClassVar[DocumentWords]
    nothing: ClassVar[Mapping[str, Any]] = {}
    """The document before anybody has written one."""

    def __init__(self, versions: DocumentRepository, audit: AuditTrail) -> None:
        self._versions = versions
        self._audit = audit

    def current(self) -> Version:
        """Return the version in force."""
        newest = self._versions.newest()
        return self._before_all() if newest is None else self._read(newest)

    def number_in_force(self) -> int:
        """Return the number of the version in force, even if this release cannot read it."""
        return self._number_of(self._versions.newest())

    def version(self, number: int) -> Version:
        """Return one version; NotFound when there is none."""
        found = self._versions.version(number)
        if found is None:
            raise NotFound(self.words.unknown)
        return self._read(found)

    def history(self, cursor: str | None, limit: int) -> Page[Entry]:
        """Return who changed what and when, newest first."""
        page = self._versions.page(cursor, limit)
        return Page(
            items=[self._entry(stored, before) for stored, before in page.items],
            next_cursor=page.next_cursor,
        )

    def restore(self, by: Principal, number: int, if_match: str | None) -> Version:
        """Put the document of an earlier version in force again, as a new version.

        Raises:
            NotFound: there is no such version.
            PreconditionRequired: the client does not say which version it read.
            PreconditionFailed: another version is in force.
            Conflict: this release cannot read it.
            Invalid: something in it is no longer valid; the fields say why.
        """
        newest = self._require_match(if_match)
        wanted = self._document_again(self.version(number))
        return self._put(by, newest, wanted, message("version %(number)s again", number=number))

    @abstractmethod
    def _before_all(self) -> Version:
        """Return what is in force while there is no version; NotFound if that must not be."""

    @abstractmethod
    def _read(self, stored: StoredVersion) -> Version:
        """Return a version; Conflict if this release cannot read it."""

    @abstractmethod
    def _entry(self, stored: StoredVersion, before: Mapping[str, Any] | None) -> Entry:
        """Return how a version differs from the one before it, if there was one."""

    @abstractmethod
    def _document_again(self, version: Version) -> dict[str, Any]:
        """Return the document of an earlier version, checked as if it were written now."""

    @abstractmethod
    def _compare(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
        """Return what has changed, for the transaction log; empty if nothing has."""

    def _after_change(self) -> None:
        """Do what a new version asks for."""

    def _number_of(self, newest: StoredVersion | None) -> int:
        return self._before_all().version if newest is None else newest.version

    def _require_match(self, if_match: str | None) -> StoredVersion | None:
        """Return the version in force, which the client must have read."""
        if if_match is None:
            raise PreconditionRequired(self.words.unmatched)
        newest = self._versions.newest()
        number = self._number_of(newest)
        if not matches(if_match, number):
            raise PreconditionFailed(self.words.outdated % {"version": number})
        return newest

    def _put(
        self,
        by: Principal,
        newest: StoredVersion | None,
        document: Mapping[str, Any],
        comment: str,
    ) -> Version:
        """Add a version; a document that changes nothing makes none."""
        changes = self._compare(self.nothing if newest is None else newest.document, document)
        if not changes:
            return self.current()
        number = self._number_of(newest) + 1
        if not self._versions.add(number, document, by.actor, comment[:MAX_COMMENT_LENGTH]):
            raise Conflict(self.words.overtaken)
        self._audit.record(by, self.words.action, f"{number}: {changes}")
        self._after_change()
        return self.version(number)


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def matches(if_match: str, version: int) -> bool:
    """Return whether an If-Match header names this version (RFC 9110 13.1.1)."""
    named = [tag.strip() for tag in if_match.split(",")]
    return ANY in named or etag(version) in named
