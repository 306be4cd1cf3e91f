"""Permissions: the one table that decides for REST, for the page and in use cases.

Every route names one permission; no other place names a role. A role includes the ones before it. A
bearer token may do what both its own role and its owner's allow, except what is for persons only: a
stolen token must not create credentials that outlive it, nor end the sessions and tokens with which
its owner would stop the thief.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from draw_shared.access.principals import Principal, Role


class Permission(StrEnum):
    """Something that a caller may be allowed to do."""

    SIGN_IN = "session.begin"
    OBSERVE = "probes.read"
    READ_API_DESCRIPTION = "api-description.read"

    READ_OWN_ACCOUNT = "account.read"
    CHANGE_OWN_PASSWORD = "account.change-password"  # noqa: S105 - names the action
    CHOOSE_LANGUAGE = "own-language.choose"
    READ_OWN_CREDENTIALS = "own-credentials.read"
    END_OWN_CREDENTIALS = "own-credentials.end"
    MAKE_TOKENS = "tokens.make"
    READ_STATUS = "status.read"
    READ_ARCHIVE = "archive.read"
    DOWNLOAD_OBJECTS = "objects.download"
    READ_STORAGE = "storage.read"
    READ_NODES = "nodes.read"
    READ_JOBS = "jobs.read"
    READ_QUERIES = "queries.read"
    READ_PEERS = "peers.read"
    READ_CONFIGURATION = "configuration.read"
    READ_ROUTING = "routing.read"
    READ_TRANSACTIONS = "transactions.read"
    READ_CHANGES = "changes.read"

    PREVIEW_CLEAN_UP = "clean-up.preview"
    HOLD_STUDIES = "studies.hold"
    MANAGE_NODES = "nodes.manage"
    RUN_JOBS = "jobs.run"
    RUN_QUERIES = "queries.run"
    MANAGE_STANDING_QUERIES = "standing-queries.manage"
    STEER_DELIVERIES = "deliveries.steer"
    CONTROL_SERVICES = "services.control"
    STORE_OBJECTS = "objects.store"

    DELETE_STUDIES = "studies.delete"
    MANAGE_PEERS = "peers.manage"
    CHANGE_CONFIGURATION = "configuration.change"
    CHANGE_ROUTING = "routing.change"
    APPLY_ROUTING = "routing.apply"
    VERIFY_TRANSACTIONS = "transactions.verify"
    READ_DELETIONS = "deletions.read"
    MANAGE_WEBHOOKS = "webhooks.manage"
    MANAGE_DEAD_LETTERS = "dead-letters.manage"
    READ_USERS = "users.read"
    MANAGE_USERS = "users.manage"
    REMOVE_ALL_SAVED_QUERIES = "all-saved-queries.remove"
    READ_ALL_CREDENTIALS = "all-credentials.read"
    END_ALL_CREDENTIALS = "all-credentials.end"


@dataclass(frozen=True, slots=True)
class Rule:
    """The conditions of one permission."""

    role: Role | None
    """The lowest role that suffices; None means everybody, even without signing in."""
    what: str
    """What is allowed, in words."""
    persons_only: bool = False
    """Whether only a signed-in person may do it, and no bearer token."""


def _anybody(what: str) -> Rule:
    return Rule(None, what)


def _viewer(what: str, *, persons_only: bool = False) -> Rule:
    return Rule(Role.VIEWER, what, persons_only)


def _operator(what: str) -> Rule:
    return Rule(Role.OPERATOR, what)


def _admin(what: str, *, persons_only: bool = False) -> Rule:
    return Rule(Role.ADMIN, what, persons_only)


RULES: Final[Mapping[Permission, Rule]] = {
    Permission.SIGN_IN: _anybody("sign in"),
    Permission.OBSERVE: _anybody("ask for health and metrics"),
    Permission.READ_API_DESCRIPTION: _anybody("read the description of the REST interface"),
    Permission.READ_OWN_ACCOUNT: _viewer("see who one is"),
    Permission.CHANGE_OWN_PASSWORD: _viewer("change one's own password", persons_only=True),
    Permission.CHOOSE_LANGUAGE: _viewer("choose the language of the page"),
    Permission.READ_OWN_CREDENTIALS: _viewer("see one's own sessions and tokens"),
    Permission.END_OWN_CREDENTIALS: _viewer(
        "sign out, end one's own sessions, revoke one's own tokens", persons_only=True
    ),
    Permission.MAKE_TOKENS: _viewer(
        "make tokens for oneself, with at most one's own role", persons_only=True
    ),
    Permission.READ_STATUS: _viewer("see services, throughput and the conformance statement"),
    Permission.READ_ARCHIVE: _viewer(
        "see patients, studies, series, objects, conflicts; looking at images and elements is kept"
        " on record"
    ),
    Permission.DOWNLOAD_OBJECTS: _viewer("download objects; it is kept on record"),
    Permission.READ_STORAGE: _viewer("see what takes up the storage"),
    Permission.READ_NODES: _viewer("see remote nodes"),
    Permission.READ_JOBS: _viewer("see jobs and retrieves"),
    Permission.READ_QUERIES: _viewer("see queries and what they found"),
    Permission.READ_PEERS: _viewer("see allowed AE titles and rejected peers"),
    Permission.READ_CONFIGURATION: _viewer("see the configuration and its history"),
    Permission.READ_ROUTING: _viewer(
        "see and try rules of routing, see destinations and deliveries; looking at values is kept"
        " on record"
    ),
    Permission.READ_TRANSACTIONS: _viewer("see and export the transaction log"),
    Permission.READ_CHANGES: _viewer("read the change feed"),
    Permission.PREVIEW_CLEAN_UP: _operator("see what the clean-up would delete"),
    Permission.HOLD_STUDIES: _operator("hold and release studies"),
    Permission.MANAGE_NODES: _operator("add, change, pause and remove remote nodes"),
    Permission.RUN_JOBS: _operator("test nodes, send, retrieve; cancel and repeat jobs"),
    Permission.RUN_QUERIES: _operator("query remote nodes, save, cancel and delete queries"),
    Permission.MANAGE_STANDING_QUERIES: _operator(
        "add, change, run, pause and remove standing queries"
    ),
    Permission.STEER_DELIVERIES: _operator(
        "retry deliveries and give them up; pause, drain and resume destinations"
    ),
    Permission.CONTROL_SERVICES: _operator("start, stop and restart services"),
    Permission.STORE_OBJECTS: _operator("store objects over HTTP; it is kept on record"),
    Permission.DELETE_STUDIES: _admin("delete studies"),
    Permission.MANAGE_PEERS: _admin("change which AE titles may associate"),
    Permission.CHANGE_CONFIGURATION: _admin("change the configuration and roll it back"),
    Permission.CHANGE_ROUTING: _admin(
        "change the rules of routing, roll them back, replay the last days with others"
    ),
    Permission.APPLY_ROUTING: _admin("apply rules of routing to the archive"),
    Permission.VERIFY_TRANSACTIONS: _admin("verify the chain of the transaction log"),
    Permission.READ_DELETIONS: _admin("see whose studies were deleted, and find them by patient"),
    Permission.MANAGE_WEBHOOKS: _admin("see, add, change and remove webhooks; send again"),
    Permission.MANAGE_DEAD_LETTERS: _admin("see, replay and discard dead letters"),
    Permission.READ_USERS: _admin("see users"),
    Permission.MANAGE_USERS: _admin(
        "add, change and remove users, set their passwords", persons_only=True
    ),
    Permission.REMOVE_ALL_SAVED_QUERIES: _admin("delete everybody's saved queries"),
    Permission.READ_ALL_CREDENTIALS: _admin("see everybody's sessions and tokens"),
    Permission.END_ALL_CREDENTIALS: _admin(
        "end everybody's sessions, revoke everybody's tokens", persons_only=True
    ),
}


def may(principal: Principal, permission: Permission) -> bool:
    """Return whether the principal has the permission."""
    rule = RULES[permission]
    if rule.role is None:
        return True
    return principal.role.allows(rule.role) and not (rule.persons_only and principal.is_program)
