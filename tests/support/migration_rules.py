"""What a migration may do while the services of the release before work on the same database.

Judged is the SQL that it runs. That a contract removes only what nobody uses any more is for
`tests/e2e/test_upgrades.py`, where the release before runs on it.
"""

import importlib.util
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from alembic.migration import MigrationContext
from alembic.operations import Operations

FIRST = "0016"
"""The first migration after which the schema says who may still work on it."""

ALTER = re.compile(r"ALTER TABLE (?:IF EXISTS |ONLY )*(\S+) (.*)")
INDEX = re.compile(
    r"CREATE (UNIQUE )?INDEX (CONCURRENTLY )?(?:IF NOT EXISTS )?\S+ ON (ONLY )?(\S+)"
)
MADE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\S+)")
CONSTRAINT = re.compile(r"(ADD|DROP) CONSTRAINT (?:IF EXISTS )?(\S+)")
FUNCTION_BODY = re.compile(r"\$\$.*?\$\$", re.DOTALL)
DROPS = re.compile(r"\bDROP (TABLE|COLUMN|TYPE|FUNCTION|TRIGGER|VIEW|INDEX(?! CONCURRENTLY))\b")
NARROWS = re.compile(r"ALTER (COLUMN )?\S+ (SET DATA TYPE|TYPE|SET NOT NULL|DROP DEFAULT)\b")
OF_INDEXES = re.compile(
    r"(CREATE|DROP|REINDEX) (UNIQUE )?INDEX|SET (LOCAL )?LOCK_TIMEOUT|COMMIT|BEGIN"
)


@dataclass(frozen=True)
class Migration:
    """One migration as its file has it."""

    module: ModuleType
    statements: tuple[str, ...]
    """In capitals, in one line each."""

    @property
    def revision(self) -> str:
        return self.module.revision

    @property
    def kind(self) -> str:
        return getattr(self.module, "kind", "")

    @property
    def compatible_from(self) -> str:
        return getattr(self.module, "compatible_from", "")


def read(path: Path) -> Migration:
    """Return the migration of a file, with the SQL that it would run."""
    spec = importlib.util.spec_from_file_location(f"migration_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written}
    )
    with Operations.context(context):
        module.upgrade()
    # What stands in a function is not done by the migration that makes it.
    done = FUNCTION_BODY.sub("", written.getvalue())
    found = (" ".join(one.split()).upper() for one in done.split(";\n"))
    return Migration(module, tuple(one.rstrip(";") for one in found if one))


def faults(migration: Migration, before: str) -> list[str]:
    """Return what is wrong with a migration; `before` is the compatible_from of the one before."""
    return [*_promises(migration, before), *_deeds(migration)]


def _promises(migration: Migration, before: str) -> Iterator[str]:
    compatible = migration.compatible_from
    match migration.kind:
        case "expand":
            if compatible != before:
                yield f"an expand leaves compatible_from as it was: {before}"
        case "contract":
            if not before < compatible <= migration.module.down_revision:
                yield (
                    f"a contract says from which release on nobody uses what it removes: after"
                    f" {before}, up to {migration.module.down_revision}"
                )
        case _:
            yield 'kind is "expand" or "contract"'


def _deeds(migration: Migration) -> Iterator[str]:
    made = {found[1] for one in migration.statements if (found := MADE.search(one))}
    constraints = [
        (found[1], found[2]) for one in migration.statements if (found := CONSTRAINT.search(one))
    ]
    widened = {name for act, name in constraints if act == "ADD"}
    for one in migration.statements:
        altered, indexed = ALTER.match(one), INDEX.match(one)
        if (altered and altered[1] in made) or (indexed and indexed[4] in made):
            continue
        for fault in (
            *_in_the_way(one),
            *(_narrowing(one, widened) if migration.kind == "expand" else ()),
        ):
            yield f"{fault}: {one}"
    altered = {found[1] for one in migration.statements if (found := ALTER.match(one))}
    if len(altered - made) > 1:
        yield f"one table is held while another is waited for: {sorted(altered - made)}"
    alone = all(OF_INDEXES.match(one) for one in migration.statements)
    if not alone and any("CONCURRENTLY" in one for one in migration.statements):
        yield "what is done CONCURRENTLY may be done twice, so it has a migration of its own"


def _in_the_way(statement: str) -> Iterator[str]:
    """Yield why the services would wait for a statement, or could not work before and after."""
    if re.search(r"\bRENAME\b", statement):
        yield "a name is new and old at the same time"
    indexed = INDEX.match(statement)
    if indexed and not indexed[2] and not indexed[3]:
        yield "an index of rows that are there is built CONCURRENTLY"
    added = re.search(r"ADD CONSTRAINT", statement)
    if added and "NOT VALID" not in statement and "USING INDEX" not in statement:
        yield "a constraint of rows that are there begins NOT VALID"


def _narrowing(statement: str, widened: set[str]) -> Iterator[str]:
    """Yield why services of the release before would fail after a statement."""
    if DROPS.search(statement):
        yield "an expand drops nothing"
    found = CONSTRAINT.search(statement)
    if found and found[1] == "DROP" and found[2] not in widened:
        yield "an expand drops no constraint but to widen it"
    if NARROWS.search(statement):
        yield "an expand leaves columns as they are"
    if re.search(r"ADD COLUMN .* NOT NULL", statement) and " DEFAULT " not in statement:
        yield "the release before does not fill a new column"
    if re.match(r"CREATE UNIQUE INDEX", statement):
        yield "the release before may write what is there twice"
