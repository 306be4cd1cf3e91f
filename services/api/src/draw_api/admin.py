"""`draw-admin`: an administrator's commands at a shell; `draw-admin --help` lists them.

Results go to standard output, progress to standard error. The exit code is 0 when all is well, 1
when something differs, is broken or could not be done, 2 for invalid arguments.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session

from draw_api.adapters.access_queries import PostgresAccountRepository
from draw_api.adapters.destination_queries import PostgresDestinationRepository
from draw_api.adapters.document_queries import CONFIGURATION, ROUTING, PostgresDocumentRepository
from draw_api.adapters.host_status import SystemHostStatus
from draw_api.adapters.password_input import read_password
from draw_api.adapters.passwords import Argon2Passwords, FailedAttempts
from draw_api.adapters.reconcile_queries import PostgresIndexAuditRepository
from draw_api.adapters.routing_queries import PostgresRoutingFactsSource
from draw_api.adapters.stored_files import FileAnnouncements, VolumeFiles
from draw_api.adapters.suspect_rows import PostgresSuspectRepository
from draw_api.adapters.user_queries import PostgresUserRepository
from draw_api.models.routing import RoutingQuestion, reasons, told
from draw_api.models.transactions import KnownHead
from draw_api.models.upkeep import FoundFile, Rebuilt
from draw_api.models.users import NewUser, PasswordReset
from draw_api.services.access import ensure_administrator
from draw_api.services.conformance import statement
from draw_api.services.destination_rules import DestinationRules
from draw_api.services.reconcile import ReconcileService
from draw_api.services.reindex import ReindexService
from draw_api.services.routing import RoutingService
from draw_api.services.transactions import TransactionService
from draw_api.services.users import UserService
from draw_api.settings import ApiSettings, MigrationSettings
from draw_shared.access.principals import Principal, Role
from draw_shared.contracts.config_reading import read_config
from draw_shared.contracts.failures import NotFound, Refusal
from draw_shared.contracts.instance import InstanceStoredV1
from draw_shared.contracts.network_variables import network_settings
from draw_shared.contracts.server_config import (
    EVERYTHING,
    REFERENCE,
    NetworkConfig,
    ServerConfig,
)
from draw_shared.contracts.validation_words import problems_of
from draw_shared.db import tombstones
from draw_shared.db.audit_trail import PostgresAuditTrail
from draw_shared.db.revisions import head_revision, is_later
from draw_shared.db.session import Database, DatabaseUnavailable
from draw_shared.db.tombstones import Tombstones
from draw_shared.errors import DrawError
from draw_shared.messaging.publisher import Publisher
from draw_shared.routing.document import RoutingDocument, Trigger
from draw_shared.routing.evaluation import Evaluator
from draw_shared.routing.facts import HeaderValues
from draw_shared.routing.subjects import ConditionSubject
from draw_shared.runtime import logging
from draw_shared.storage.header_values import file_facts, read_header_values

REPORT_INTERVAL_SECONDS: Final = 5.0
TRUE_WORDS: Final = frozenset({"1", "true", "yes", "on"})


def main(words: Sequence[str] | None = None) -> int:
    """Run the command in the arguments and return the exit code."""
    given = _parser().parse_args(words)
    logging.configure("WARNING", service="draw-admin", replica="draw-admin")
    action: Callable[[argparse.Namespace], int] = given.action
    try:
        return action(given)
    except DatabaseUnavailable as error:
        _say(f"draw-admin: {_outage(error)}")
    except (DrawError, ValidationError, ValueError, OSError) as error:
        _say(f"draw-admin: {_reason(error)}")
    except SQLAlchemyError as error:
        _say(f"draw-admin: the database refused ({type(error).__name__})")
    except KeyboardInterrupt:
        _say("draw-admin: called off")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("draw-admin", description="Looks after a DRAW DICOM suite.")
    parser.add_argument("--version", action="version", version=version("draw-api"))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        words = (action.__doc__ or "").splitlines()[0]
        made = commands.add_parser(name, help=words, description=words)
        made.set_defaults(action=action)
        return made

    migrate = command("migrate", _migrate)
    migrate.add_argument(
        "--everything",
        action="store_true",
        help="a new database begins with all services, SOP classes and transfer syntaxes on"
        " (also by DRAW_SCP_EVERYTHING=true)",
    )
    user = command("create-user", _create_user)
    user.add_argument("name")
    user.add_argument("--role", choices=[str(role) for role in Role], default=str(Role.VIEWER))
    forgotten = command("set-password", _set_password)
    forgotten.add_argument("name")
    for asking in (user, forgotten):
        asking.add_argument(
            "--password-file",
            type=Path,
            help="read the password from here; `-` is standard input; else it is asked for",
        )
    reindex = command("reindex", _reindex)
    reindex.add_argument(
        "--only",
        choices=["damaged"],
        help="only read again the indexed objects whose rows an earlier release may have written"
        " wrongly",
    )
    reconcile = command("reconcile", _reconcile)
    reconcile.add_argument("--repair", action="store_true", help="mend it instead of showing it")
    reconcile.add_argument(
        "--empty-volume", action="store_true", help="also where the volume has no object at all"
    )
    reconcile.add_argument(
        "--new-seconds",
        type=float,
        default=60.0,
        help="younger files without row may be on their way into the index (%(default)s)",
    )
    verify = command("verify-transactions", _verify)
    verify.add_argument("--position", type=int, help="with --hash: a head that was kept elsewhere")
    verify.add_argument("--hash")
    verify.add_argument("--accept", metavar="REASON", help="say that you looked at the findings")
    conformance = command("conformance", _conformance)
    conformance.add_argument(
        "--everything", action="store_true", help="of everything switched on, without a database"
    )
    routing = command("routing", _explain_routing)
    routing.add_argument("verb", choices=["explain"])
    routing.add_argument("file", nargs="?", type=Path, help="a DICOM file, as if it were a series")
    routing.add_argument("--series", metavar="UID", help="a series of the archive")
    routing.add_argument(
        "--document", type=Path, help="rules in JSON that are not saved; else those in force"
    )
    routing.add_argument(
        "--trigger", choices=[str(one) for one in Trigger], default=str(Trigger.SERIES_COMPLETE)
    )
    return parser


def _migrate(given: argparse.Namespace) -> int:
    """Bring the database to this release's schema; give a new one configuration and first user.

    The services' roles are created where that is allowed, and get the rights that they need.
    """
    # Only this command needs Alembic: the others start without it.
    from draw_shared.db.migrate import bring_up_to_date, seed_config  # noqa: PLC0415

    settings = MigrationSettings.read()
    url = settings.database_url.get_secret_value()
    admin = settings.database_admin_url
    said = os.environ.get("DRAW_SCP_EVERYTHING", "").lower() in TRUE_WORDS
    found = bring_up_to_date(
        url,
        admin_url=admin.get_secret_value() if admin else "",
        service_urls=settings.service_urls,
    )
    if is_later(found):
        print(f"schema {found} is a later release's; {head_revision()} serves it too")  # noqa: T201
        return 0
    database = Database(url)
    try:
        with database.session() as session:
            begun = first_configuration(everything=given.everything or said)
            fresh = seed_config(session, begun)
            if settings.admin_password is not None:
                password = settings.admin_password.get_secret_value()
                ensure_administrator(
                    PostgresAccountRepository(session), Argon2Passwords(), password
                )
            session.commit()
    finally:
        database.dispose()
    print(f"schema {found}{', first configuration written' if fresh else ''}")  # noqa: T201
    return 0


def first_configuration(*, everything: bool) -> ServerConfig:
    """Return a new database's first configuration; environment variables set the addresses.

    Raises:
        ValueError: a variable's value is not allowed.
    """
    told = NetworkConfig.model_validate(network_settings(os.environ))
    begun = EVERYTHING if everything else REFERENCE
    return begun.model_copy(update={"network": told})


def _create_user(given: argparse.Namespace) -> int:
    """Add a user."""
    new = NewUser.model_validate(
        {"name": given.name, "role": given.role, "password": read_password(given.password_file)}
    )
    with _users() as users:
        user = users.add(_operator(), new)
    print(f"user {user.name}, {user.role}")  # noqa: T201
    return 0


def _set_password(given: argparse.Namespace) -> int:
    """Set a user's new password and end all the user's sessions, as after a forgotten one."""
    new = PasswordReset.model_validate({"password": read_password(given.password_file)})
    with _users() as users:
        user = users.by_name(given.name)
        users.reset_password(_operator(), user.user_id, new.password.get_secret_value())
    print(f"user {user.name}, new password")  # noqa: T201
    return 0


def _audit(session: Session, settings: ApiSettings) -> PostgresAuditTrail:
    return PostgresAuditTrail(session, replica=settings.replica, keyring=settings.keyring())


@contextmanager
def _users() -> Iterator[UserService]:
    """Yield the use case; commit its changes when nothing fails."""
    settings = ApiSettings.read()
    with _session(settings) as session:
        users = PostgresUserRepository(session), Argon2Passwords(), FailedAttempts()
        yield UserService(*users, _audit(session, settings), clock=_now)
        session.commit()


def _reindex(given: argparse.Namespace) -> int:
    """Announce every file on the volume again; the running indexers make its rows."""
    settings = ApiSettings.read()
    with _open_announcements(settings) as announcements:
        reindex = ReindexService(
            VolumeFiles(settings.storage_root), announcements, _Progress("announced")
        )
        if given.only:
            database = Database(settings.database_url.get_secret_value())
            try:
                done = reindex.reread(PostgresSuspectRepository(database, settings.replica))
            finally:
                database.dispose()
            print(f"{done.announced} objects are read again, {done.size_bytes} bytes")  # noqa: T201
            return 0
        done = reindex.run()
    _show_left(done)
    print(  # noqa: T201
        f"{done.announced} objects announced, {done.size_bytes} bytes,"
        f" {len(done.unreadable)} unreadable, {done.deleted} deleted since and not indexed"
    )
    return 1 if done.unreadable else 0


def _reconcile(given: argparse.Namespace) -> int:
    """Compare disk and index both ways; change nothing without --repair."""
    settings = ApiSettings.read()
    files = VolumeFiles(settings.storage_root)
    begun = time.time()
    with _session(settings) as session, _open_announcements(settings) as announcements:

        def announce(found: list[FoundFile]) -> Rebuilt:
            return ReindexService(files, announcements, _Progress("announced")).announce(found)

        audit = _audit(session, settings)
        reconcile = ReconcileService(PostgresIndexAuditRepository(session), files, announce, audit)
        found = reconcile.differences(begun - given.new_seconds)
        print(*found.lines, sep="\n")  # noqa: T201
        if given.repair and found.any:
            announced = reconcile.repair(_operator(), found, empty=given.empty_volume)
            session.commit()
            print(f"{announced.announced} files without row announced, to be indexed")  # noqa: T201
            _show_left(announced)
            if announced.deleted:
                print(f"{announced.deleted} files of deleted objects are removed")  # noqa: T201
            return 1 if announced.unreadable or found.other_size else 0
    return 1 if found.any else 0


def _show_left(done: Rebuilt) -> None:
    """Print what an operator should examine."""
    for path in done.unreadable:
        print(f"unreadable {path}")  # noqa: T201
    for uid in sorted(done.returned):
        print(  # noqa: T201
            f"study {uid} was deleted and is indexed again: its files are newer than the deletion"
        )


def _verify(given: argparse.Namespace) -> int:
    """Compute the hash chain of the transaction log again."""
    # It imports the classes of all tables, which no other command needs.
    from draw_api.adapters.transaction_queries import PostgresTransactionRepository  # noqa: PLC0415

    known = None
    if given.position is not None or given.hash is not None:
        known = KnownHead.model_validate({"position": given.position, "chain_hash": given.hash})
    settings = ApiSettings.read()
    with _session(settings) as session:
        log = PostgresTransactionRepository(session, settings.keyring(), settings.sealed_head())
        transactions = TransactionService(log, _audit(session, settings))
        report = transactions.verify(_operator(), known)
        if given.accept is not None:
            transactions.accept(_operator(), report, given.accept)
        session.commit()
    print(report.model_dump_json(indent=2))  # noqa: T201
    return 0 if report.intact else 1


def _conformance(given: argparse.Namespace) -> int:
    """Print the DICOM conformance statement of the configuration in force."""
    if given.everything:
        config = EVERYTHING
    else:
        database = Database(MigrationSettings.read().database_url.get_secret_value())
        try:
            with database.session() as session:
                newest = PostgresDocumentRepository(session, CONFIGURATION).newest()
        finally:
            database.dispose()
        if newest is None:
            raise NotFound("There is no configuration yet: run `draw-admin migrate`.")
        config = read_config(newest.document).config
    print(statement(config, version("draw-api")), end="")  # noqa: T201
    return 0


def _explain_routing(given: argparse.Namespace) -> int:
    """Say which rules of routing apply to a file or a series, and what each condition saw."""
    if (given.file is None) == (given.series is None):
        raise ValueError("give either a file or --series UID")
    document = None if given.document is None else _read_rules(given.document)
    if given.series is not None:
        question = RoutingQuestion(series_instance_uid=given.series, document=document)
        settings = ApiSettings.read()
        with _routing(settings) as (session, routing):
            found = routing.explain(_operator(), question)
            session.commit()
    else:
        version = None
        if document is None:
            with _routing(ApiSettings.read()) as (_, routing):
                current = routing.current()
            version, document = current.version, current.document
        evaluator = Evaluator(document)
        facts = file_facts(given.file, evaluator.subjects, Trigger(given.trigger), _now())
        found = reasons(version, facts, evaluator.explain(facts), document.destinations)
    print(*told(found), sep="\n")  # noqa: T201
    return 0


def _read_rules(path: Path) -> RoutingDocument:
    try:
        return RoutingDocument.read(json.loads(path.read_text(encoding="utf-8")))
    except RecursionError:
        raise ValueError("the document is nested too deeply") from None


@contextmanager
def _routing(settings: ApiSettings) -> Iterator[tuple[Session, RoutingService]]:
    def read(path: str, subjects: Sequence[ConditionSubject]) -> HeaderValues:
        return read_header_values(settings.storage_root / path, subjects)

    with _session(settings) as session:
        versions = PostgresDocumentRepository(session, ROUTING)
        volume = SystemHostStatus(settings.storage_root, dict)
        named = PostgresDestinationRepository(session)
        yield (
            session,
            RoutingService(
                versions,
                PostgresRoutingFactsSource(session, read),
                DestinationRules(named, volume, versions),
                _audit(session, settings),
            ),
        )


@contextmanager
def _session(settings: ApiSettings) -> Iterator[Session]:
    database = Database(settings.database_url.get_secret_value())
    try:
        with database.session() as session:
            yield session
    finally:
        database.dispose()


@contextmanager
def _open_announcements(settings: ApiSettings) -> Iterator[FileAnnouncements]:
    publisher = Publisher(settings.broker_url.get_secret_value(), client="draw-admin")
    database = Database(settings.database_url.get_secret_value())

    def tombstones_of(objects: Sequence[InstanceStoredV1]) -> Tombstones:
        with database.session() as session:
            return tombstones.of(session.connection(), objects)

    publisher.start()
    try:
        yield FileAnnouncements(settings.storage_root, publisher, tombstones_of)
    finally:
        publisher.stop(5)
        database.dispose()


class _Progress:
    """Reports progress on standard error every few seconds."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._next = time.monotonic() + REPORT_INTERVAL_SECONDS

    def __call__(self, done: Rebuilt) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + REPORT_INTERVAL_SECONDS
            _say(f"{done.announced} {self._word} ...")


def _now() -> datetime:
    return datetime.now(UTC)


def _operator() -> Principal:
    """Return the acting principal for the audit log: whoever has the shell has all rights."""
    return Principal(0, f"draw-admin (uid {os.getuid()})", Role.ADMIN, "")


def _outage(error: DatabaseUnavailable) -> str:
    """Return where to look; the driver's words name host, port and database, but no password."""
    told = " ".join(str(getattr(error.__cause__, "orig", error)).split())
    return f"the database does not answer; is DRAW_DATABASE_URL right, and PostgreSQL up? {told}"


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{p.field} {p.message}" for p in problems_of(error.errors()))
    return str(error) if isinstance(error, Refusal | ValueError) or str(error) else repr(error)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
