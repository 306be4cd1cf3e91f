"""Reads, changes and rolls back the configuration document.

A change is a new version with its author, time, and the whole document as this release knows it;
settings that only a later release knows are lost. Receivers poll for it every second, and sooner
after a wake-up, so a broker that is down hardly delays it.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError
from typing_extensions import override

from draw_api.models.access import Principal
from draw_api.models.config import (
    ConfigChange,
    ConfigHistoryEntry,
    ConfigVersion,
    StoredVersion,
    differences,
    document_of,
)
from draw_api.models.failures import (
    Conflict,
    FieldProblem,
    Invalid,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
)
from draw_api.models.paging import Page
from draw_api.models.wording import problems_of
from draw_api.ports.audit import AuditTrail
from draw_api.ports.config import ConfigRepository, StorageVolume
from draw_api.ports.peers import AccessConfiguration
from draw_api.ports.wakeups import WakeUps
from draw_api.services.config_rules import disagreements
from draw_shared.contracts.config_reading import ConfigUnreadable, read_config
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.server_config import ServerConfig
from draw_shared.wording import message

ANY: Final = "*"
MAX_COMMENT_LENGTH: Final = 200
OVERLAPS: Final = message(
    "must lie outside the folder in which objects are stored, and not above it"
)


class ConfigurationService(AccessConfiguration):
    """The configuration document."""

    def __init__(
        self,
        versions: ConfigRepository,
        volume: StorageVolume,
        wakeups: WakeUps,
        audit: AuditTrail,
    ) -> None:
        self._versions = versions
        self._volume = volume
        self._wakeups = wakeups
        self._audit = audit

    @override
    def current(self) -> ConfigVersion:
        return _to_version(self._newest())

    def number_in_force(self) -> int:
        """Return the number of the version in force, even if this release cannot read it."""
        return self._newest().version

    def version(self, number: int) -> ConfigVersion:
        """Return one version; NotFound when there is none."""
        found = self._versions.version(number)
        if found is None:
            raise NotFound(message("There is no such version of the configuration."))
        return _to_version(found)

    def history(self, cursor: str | None, limit: int) -> Page[ConfigHistoryEntry]:
        """Return who changed what and when, newest first."""
        page = self._versions.page(cursor, limit)
        items = [
            ConfigHistoryEntry(
                version=stored.version,
                created_at=stored.created_at,
                created_by=stored.created_by,
                comment=stored.comment,
                changes=_changes(before, stored.document) if before is not None else [],
            )
            for stored, before in page.items
        ]
        return Page(items=items, next_cursor=page.next_cursor)

    def patch(
        self, by: Principal, patch: Mapping[str, Any], if_match: str | None, comment: str = ""
    ) -> ConfigVersion:
        """Apply a merge patch (RFC 7396): named settings change, null restores the default.

        Raises:
            PreconditionRequired: the client does not say which version it read.
            PreconditionFailed: another version is in force.
            Invalid: the result is not a valid configuration; the fields say why.
        """
        newest = self._require_match(if_match)
        wanted = self._check(merge_patch(document_of(_read(newest)), patch))
        return self._put(by, newest, wanted, comment)

    def restore(self, by: Principal, number: int, if_match: str | None) -> ConfigVersion:
        """Put the document of an earlier version in force again, as a new version.

        Raises:
            NotFound: there is no such version.
            PreconditionRequired: the client does not say which version it read.
            PreconditionFailed: another version is in force.
            Invalid: a setting is no longer valid; the fields say why.
        """
        newest = self._require_match(if_match)
        wanted = self._check(document_of(self.version(number).document))
        return self._put(by, newest, wanted, message("version %(number)s again", number=number))

    @override
    def allow_address(self, by: Principal, network: str) -> bool:
        newest = self._newest()
        config = _read(newest)
        allowed = config.security.allowed_ips
        if not allowed or network in allowed:
            return False
        patch = {"security": {"allowed_ips": [*allowed, network]}}
        wanted = self._check(merge_patch(document_of(config), patch))
        self._put(by, newest, wanted, f"{network} allowed")
        return True

    def _check(self, document: Mapping[str, Any]) -> ServerConfig:
        """Return the configuration in a document; Invalid when it is none."""
        try:
            config = ServerConfig.model_validate(document)
        except ValidationError as error:
            raise Invalid(problems_of(error.errors(), document)) from error
        problems = disagreements(config)
        folder = config.handler.folder
        if folder and not problems and self._volume.overlaps(folder):
            problems.append(FieldProblem("handler.folder", OVERLAPS))
        if problems:
            raise Invalid(problems)
        return config

    def _newest(self) -> StoredVersion:
        newest = self._versions.newest()
        if newest is None:
            raise NotFound(message("There is no configuration yet: the database is not prepared."))
        return newest

    def _require_match(self, if_match: str | None) -> StoredVersion:
        if if_match is None:
            raise PreconditionRequired(
                message(
                    "Send If-Match with the ETag of the version that you read (GET /api/v1/config)."
                )
            )
        newest = self._newest()
        if not matches(if_match, newest.version):
            raise PreconditionFailed(
                message(
                    "The configuration has changed since you read it; version %(version)s is "
                    "in force.",
                    version=newest.version,
                )
            )
        return newest

    def _put(
        self, by: Principal, newest: StoredVersion, wanted: ServerConfig, comment: str
    ) -> ConfigVersion:
        document = document_of(wanted)
        changes = _changes(newest.document, document)
        if not changes:
            return _to_version(newest)
        number = newest.version + 1
        if not self._versions.add(number, document, by.actor, comment[:MAX_COMMENT_LENGTH]):
            raise Conflict(
                message("Somebody else has changed the configuration at the same moment.")
            )
        self._audit.record(by, "config.update", f"{number}: {', '.join(c.field for c in changes)}")
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.CONFIG))
        return self.version(number)


def etag(version: int) -> str:
    """Return the entity tag of a version."""
    return f'"{version}"'


def matches(if_match: str, version: int) -> bool:
    """Return whether an If-Match header names this version (RFC 9110 13.1.1)."""
    named = [tag.strip() for tag in if_match.split(",")]
    return ANY in named or etag(version) in named


def merge_patch(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document with a merge patch applied (RFC 7396)."""
    result = dict(document)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            inner = result.get(name)
            result[name] = merge_patch(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[name] = value
    return result


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ConfigChange]:
    return sorted(differences(before, after), key=lambda change: change.field)


def _to_version(stored: StoredVersion) -> ConfigVersion:
    return ConfigVersion(
        version=stored.version,
        created_at=stored.created_at,
        created_by=stored.created_by,
        comment=stored.comment,
        document=_read(stored),
    )


def _read(stored: StoredVersion) -> ServerConfig:
    """Return the configuration in a version; Conflict if this release cannot read it."""
    try:
        return read_config(stored.document).config
    except ConfigUnreadable as error:
        raise Conflict(
            message(
                "Version %(version)s of the configuration is of another release; this "
                "one cannot read %(error)s. Put an earlier version in force again.",
                version=stored.version,
                error=error,
            )
        ) from error
