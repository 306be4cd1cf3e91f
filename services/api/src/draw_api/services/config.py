"""Reads, changes and rolls back the configuration document.

A version has the whole document as this release knows it; settings that only a later release knows
are lost. Receivers poll for it every second, and sooner
after a wake-up, so a broker that is down hardly delays it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from pydantic import ValidationError
from typing_extensions import override

from draw_api.models.config import (
    ConfigChange,
    ConfigHistoryEntry,
    ConfigVersion,
    StoredVersion,
    differences,
    document_of,
)
from draw_api.ports.documents import DocumentRepository
from draw_api.ports.peers import AccessConfiguration
from draw_api.ports.wakeups import WakeUps
from draw_api.services.config_rules import disagreements
from draw_api.services.documents import DocumentService, DocumentWords
from draw_shared.access.audit import AuditTrail
from draw_shared.access.principals import Principal
from draw_shared.contracts.config_reading import ConfigUnreadable, read_config
from draw_shared.contracts.control import ControlSubject, ControlV1
from draw_shared.contracts.failures import (
    Conflict,
    Invalid,
    NotFound,
)
from draw_shared.contracts.server_config import ServerConfig
from draw_shared.contracts.validation_words import problems_of
from draw_shared.wording import message

FORMER: Final = "handler"
"""The section that is a rule of routing now, where a release before has left it."""


class ConfigurationService(DocumentService[ConfigVersion, ConfigHistoryEntry], AccessConfiguration):
    """The configuration document."""

    words: ClassVar = DocumentWords(
        action="config.update",
        unknown=message("There is no such version of the configuration."),
        unmatched=message(
            "Send If-Match with the ETag of the version that you read (GET /api/v1/config)."
        ),
        outdated=message(
            "The configuration has changed since you read it; version %(version)s is in force."
        ),
        overtaken=message("Somebody else has changed the configuration at the same moment."),
    )

    def __init__(self, versions: DocumentRepository, wakeups: WakeUps, audit: AuditTrail) -> None:
        super().__init__(versions, audit)
        self._wakeups = wakeups

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
        return self._put(by, newest, self._patched(self.current().document, patch), comment)

    @override
    def allow_address(self, by: Principal, network: str) -> bool:
        newest = self._versions.newest()
        config = self.current().document
        allowed = config.security.allowed_ips
        if not allowed or network in allowed:
            return False
        patch = {"security": {"allowed_ips": [*allowed, network]}}
        self._put(by, newest, self._patched(config, patch), f"{network} allowed")
        return True

    @override
    def _before_all(self) -> ConfigVersion:
        raise NotFound(message("There is no configuration yet: the database is not prepared."))

    @override
    def _read(self, stored: StoredVersion) -> ConfigVersion:
        return ConfigVersion(
            version=stored.version,
            created_at=stored.created_at,
            created_by=stored.created_by,
            comment=stored.comment,
            document=_read(stored),
        )

    @override
    def _entry(self, stored: StoredVersion, before: Mapping[str, Any] | None) -> ConfigHistoryEntry:
        return ConfigHistoryEntry(
            version=stored.version,
            created_at=stored.created_at,
            created_by=stored.created_by,
            comment=stored.comment,
            changes=_changes(before, stored.document) if before is not None else [],
        )

    @override
    def _document_again(self, version: ConfigVersion) -> dict[str, Any]:
        return document_of(self._check(document_of(version.document)))

    @override
    def _compare(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
        return ", ".join(change.field for change in _changes(before, after))

    @override
    def _put(
        self,
        by: Principal,
        newest: StoredVersion | None,
        document: Mapping[str, Any],
        comment: str,
    ) -> ConfigVersion:
        # An indexer makes a rule of it as soon as those of the release before are gone.
        former = newest.document.get(FORMER) if newest is not None else None
        kept = {} if former is None else {FORMER: former}
        return super()._put(by, newest, {**document, **kept}, comment)

    @override
    def _after_change(self) -> None:
        self._wakeups.after_commit(ControlV1(subject=ControlSubject.CONFIG))

    def _patched(self, config: ServerConfig, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document with a patch applied; Invalid when it is none then."""
        return document_of(self._check(merge_patch(document_of(config), patch)))

    def _check(self, document: Mapping[str, Any]) -> ServerConfig:
        """Return the configuration in a document; Invalid when it is none."""
        try:
            config = ServerConfig.model_validate(document)
        except ValidationError as error:
            raise Invalid(problems_of(error.errors(), document)) from error
        if problems := disagreements(config):
            raise Invalid(problems)
        return config


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
