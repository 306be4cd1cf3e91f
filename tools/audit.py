"""`make audit`: checks the locked packages for vulnerabilities known to OSV and npm's registry.

An unreachable source clears nothing. It is reported but is not a failure, because a clinic's build
machine reaches neither source. A vulnerability is a failure, unless `[tool.audit]` of
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
"""All other Python locks are subsets of the first."""
NPM_LOCKS: Final = ("services/api/web/package-lock.json", "tests/e2e/dcmjs/package-lock.json")
CONNECT_TIMEOUT_SECONDS: Final = 5
RUN_TIMEOUT_SECONDS: Final = 300
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
"""Messages of the two programs when the source is unreachable or has no advisories."""


class Finding(NamedTuple):
    """One known vulnerability of one package."""

    package: str
    names: tuple[str, ...]
    """Identifiers of the vulnerability."""


class NotAsked(Exception):
    """The source could not be asked; the text says why."""


class AuditFailed(Exception):
    """A program failed; the text is its output."""


def python_findings(locks: Sequence[Path]) -> list[Finding]:
    """Return the vulnerabilities that OSV knows in the packages of locks with hashes.

    Raises:
        NotAsked: OSV cannot be reached.
        AuditFailed: the locks cannot be read.
    """
    asked = [part for lock in locks for part in ("-r", str(lock))]
    said = _run_for_json(
        sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--disable-pip",
        "--require-hashes", "--timeout", str(CONNECT_TIMEOUT_SECONDS), "--progress-spinner", "off",
        "--format", "json", *asked,
    )  # fmt: skip
    return list(dict.fromkeys(_of_pip_audit(said)))


def npm_findings(lock: Path) -> list[Finding]:
    """Return the vulnerabilities that npm's registry knows in the packages of a lock.

    Raises:
        NotAsked: npm is missing, or the registry cannot be reached or has no advisories.
        AuditFailed: the lock cannot be read.
    """
    said = _run_for_json(
        "npm", "audit", "--package-lock-only", "--json", "--fetch-retries=0",
        f"--fetch-timeout={CONNECT_TIMEOUT_SECONDS * 1000}", f"--prefix={lock.parent}",
    )  # fmt: skip
    return list(dict.fromkeys(_of_npm(said)))


def accepted() -> dict[str, str]:
    """Return the accepted vulnerabilities, each with its reason."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, str] = tomllib.load(file)["tool"]["audit"]["accepted"]
    return found


def main() -> int:
    """Audit all locks and return the exit code."""
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


def _run_for_json(*command: str) -> dict[str, Any]:
    """Run a program and return its JSON output, regardless of the exit code."""
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=RUN_TIMEOUT_SECONDS
        )
    except FileNotFoundError as error:
        raise NotAsked(f"there is no {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise NotAsked(f"no answer within {RUN_TIMEOUT_SECONDS} s") from error
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
