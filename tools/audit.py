"""`make audit`: known vulnerabilities in what the locks pin, as OSV and npm's registry know them.

Whoever cannot be asked has not cleared anything: that is said, and is no failure, because a
clinic's build machine reaches neither. What is found is a failure, unless `[tool.audit]` of
`pyproject.toml` accepts it with a reason.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
PYTHON_LOCKS: Final = ("requirements-dev.lock", "requirements-build.lock", "requirements-npm.lock")
"""All others are parts of the first."""
NPM_LOCKS: Final = ("services/api/web/package-lock.json", "tests/e2e/dcmjs/package-lock.json")
CONNECT_SECONDS: Final = 5
MOST_SECONDS: Final = 300
UNREACHABLE: Final = (
    "ConnectionError",
    "Could not connect",
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "audit endpoint returned an error",
)
"""What the two programs say when nobody answers, or answers no such question."""


class Finding(NamedTuple):
    """One known vulnerability of one package."""

    package: str
    names: tuple[str, ...]
    """Identifiers under which it is known."""


class NotAsked(Exception):
    """Nobody could be asked, with the reason."""


class AuditFailed(Exception):
    """A program did not do its work, with what it said."""


def python_findings(locks: Sequence[Path]) -> list[Finding]:
    """Return what OSV knows about the packages of locks with hashes.

    Raises:
        NotAsked: it cannot be reached.
        AuditFailed: the locks cannot be read.
    """
    asked = [part for lock in locks for part in ("-r", str(lock))]
    said = _told(
        sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--disable-pip",
        "--require-hashes", "--timeout", str(CONNECT_SECONDS), "--progress-spinner", "off",
        "--format", "json", *asked,
    )  # fmt: skip
    return list(dict.fromkeys(_of_pip_audit(said)))


def npm_findings(lock: Path) -> list[Finding]:
    """Return what npm's registry knows about the packages of a lock.

    Raises:
        NotAsked: there is no npm, it cannot reach the registry, or that has no advisories.
        AuditFailed: the lock cannot be read.
    """
    said = _told(
        "npm", "audit", "--package-lock-only", "--json", "--fetch-retries=0",
        f"--fetch-timeout={CONNECT_SECONDS * 1000}", f"--prefix={lock.parent}",
    )  # fmt: skip
    return list(dict.fromkeys(_of_npm(said)))


def accepted() -> dict[str, str]:
    """Return the vulnerabilities that are accepted, each with its reason."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, str] = tomllib.load(file)["tool"]["audit"]["accepted"]
    return found


def main() -> int:
    """Ask about all locks and return the exit code."""
    failed = False
    reasons = accepted()
    pythons = [ROOT / name for name in PYTHON_LOCKS]
    asking: list[tuple[str, Callable[[], list[Finding]]]] = [
        (", ".join(PYTHON_LOCKS), partial(python_findings, pythons))
    ]
    asking += [(name, partial(npm_findings, ROOT / name)) for name in NPM_LOCKS]
    for name, ask in asking:
        try:
            found = ask()
        except NotAsked as nobody:
            print(f"audit: {name}: NOT AUDITED, {nobody}")
            continue
        except AuditFailed as error:
            print(f"audit: {name}: {error}", file=sys.stderr)
            failed = True
            continue
        open_ones = [one for one in found if not reasons.keys() & set(one.names)]
        for one in found:
            why = next((reasons[n] for n in one.names if n in reasons), "")
            print(f"audit: {one.package}: {' '.join(one.names)} {f'({why})' if why else ''}")
        print(f"audit: {name}: {len(open_ones)} known vulnerabilities that are not accepted")
        failed = failed or bool(open_ones)
    return int(failed)


def _told(*command: str) -> dict[str, Any]:
    """Return the JSON document that a program writes, whatever its exit code."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=MOST_SECONDS
        )
    except FileNotFoundError as error:
        raise NotAsked(f"there is no {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotAsked(f"no answer within {MOST_SECONDS} s") from error
    try:
        told = json.loads(done.stdout)
    except ValueError:
        told = None
    if isinstance(told, dict) and ("dependencies" in told or "vulnerabilities" in told):
        return told
    said = done.stderr + done.stdout
    if any(mark in said for mark in UNREACHABLE):
        raise NotAsked("offline, or whoever is asked answers no audits")
    lines = [line for line in said.splitlines() if line.strip()]
    raise AuditFailed(lines[-1] if lines else f"exit code {done.returncode}")


def _of_pip_audit(said: dict[str, Any]) -> Iterator[Finding]:
    for one in said["dependencies"]:
        for known in one.get("vulns", []):
            names = tuple(sorted({known["id"], *known["aliases"]}))
            yield Finding(f"{one['name']} {one['version']}", names)


def _of_npm(said: dict[str, Any]) -> Iterator[Finding]:
    for one in said["vulnerabilities"].values():
        for via in one["via"]:
            if isinstance(via, dict):
                name = str(via["url"]).rpartition("/")[2]
                yield Finding(f"{via['name']} {via['range']}", (name,))


if __name__ == "__main__":
    sys.exit(main())
