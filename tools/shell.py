"""`make shell`: a shell, or one command, with the suite of `$DRAW_HOME` in its environment.

`draw-admin`, `psql`, `pg_dump` and `pg_restore` then find database and storage by themselves.
While the suite runs, its addresses are used. Otherwise the private PostgreSQL runs for the
duration of the command, and no other launcher can use that home meanwhile.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from tools.home import Home, HomeInUse, HomeUnusable, running
from tools.local_postgres import StartFailed, programs

NO_BROKER: Final = "amqp://127.0.0.1:1"
"""Without a running suite there is no broker; commands that need it get a connection error."""


def main(given: Mapping[str, str], words: Sequence[str]) -> int:
    """Run the words, or a shell, and return their exit code."""
    folder = Path(given.get("DRAW_HOME") or "var")
    try:
        with _addresses(folder, given) as addresses:
            command = list(words) or [given.get("SHELL") or "/bin/sh"]
            environment = {**given, **addresses, **_for_libpq(addresses["DRAW_DATABASE_URL"])}
            environment["PATH"] = os.pathsep.join(
                # pynetdicom installs programs with DCMTK's names: those of the machine come first.
                [str(programs()), given.get("PATH", os.defpath), str(Path(sys.executable).parent)]
            )
            return subprocess.run(command, env=environment, check=False).returncode
    except FileNotFoundError as error:
        print(f"shell: there is no program {error.filename}", file=sys.stderr)
    except (HomeInUse, HomeUnusable, StartFailed) as reason:
        print(f"shell: {reason}", file=sys.stderr)
    return 1


@contextmanager
def _addresses(folder: Path, given: Mapping[str, str]) -> Iterator[dict[str, str]]:
    found = running(folder)
    if found is not None:
        yield found
        return
    home = Home(folder)
    addresses = {
        "DRAW_STORAGE_ROOT": given.get("DRAW_STORAGE_ROOT") or str(home.storage),
        "DRAW_BROKER_URL": given.get("DRAW_BROKER_URL") or NO_BROKER,
    }
    if home.transaction_keys_file.is_file():
        addresses["DRAW_TRANSACTION_KEYS_FILE"] = str(home.transaction_keys_file)
    try:
        if given.get("DRAW_DATABASE_URL"):
            yield {**addresses, "DRAW_DATABASE_URL": given["DRAW_DATABASE_URL"]}
        else:
            home.start_postgres()
            yield {**addresses, "DRAW_DATABASE_URL": home.owner_url}
    finally:
        home.postgres.stop()
        home.release()


def _for_libpq(database_url: str) -> dict[str, str]:
    """Return the environment from which PostgreSQL's programs take the address."""
    url = make_url(database_url)
    told = {
        "PGHOST": url.host,
        "PGPORT": str(url.port) if url.port else None,
        "PGUSER": url.username,
        "PGPASSWORD": str(url.password) if url.password else None,
        "PGDATABASE": url.database,
    }
    return {name: value for name, value in told.items() if value}


if __name__ == "__main__":
    sys.exit(main(os.environ, sys.argv[1:]))
