"""`make release VERSION=X.Y.Z`: builds the packages, dates the changelog, commits and tags.

Nothing leaves the machine; pushing the commit and the tag is a manual last step. The packages are
built first, so that a version that cannot be built gets no tag.
"""

import argparse
import datetime as dt
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

CHANGELOG: Final = "CHANGELOG.md"
UNRELEASED: Final = "## [Unreleased]\n"
VERSION: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
RELEASED: Final = re.compile(r"^## \[(\d+\.\d+\.\d+)\]", re.MULTILINE)


class ReleaseRefused(Exception):
    """This version cannot be released; nothing was changed."""


def date_changelog(changelog: str, version: str, day: dt.date) -> str:
    """Return the changelog with the unreleased section assigned to this version.

    Raises:
        ReleaseRefused: nothing is unreleased, or the version is not above the latest one.
    """
    head, found, rest = changelog.partition(UNRELEASED)
    latest = RELEASED.search(rest)
    entries = rest[: latest.start()] if latest else rest
    if not found or "\n- " not in f"\n{entries}":
        raise ReleaseRefused(f"{CHANGELOG} has nothing under [Unreleased]")
    if latest and _numbers(version) <= _numbers(latest[1]):
        raise ReleaseRefused(f"{version} is not above {latest[1]}, the latest in {CHANGELOG}")
    return f"{head}{UNRELEASED}\n## [{version}] - {day.isoformat()}\n{rest}"


def release(root: Path, version: str, day: dt.date, uv: str) -> list[Path]:
    """Build, commit and tag a version; return the wheels, in `dist/VERSION`.

    Args:
        root: the repository's folder.
        version: three numbers, as X.Y.Z.
        day: the release's date.
        uv: path of uv in the environment with the build requirements.

    Raises:
        ReleaseRefused: nothing was committed or tagged; the sentence says why.
    """
    if not VERSION.fullmatch(version):
        raise ReleaseRefused(f"{version!r} is no version: three numbers such as 1.4.0")
    if _git(root, "status", "--porcelain"):
        raise ReleaseRefused("there are changes that are not committed")
    if _git(root, "tag", "--list", f"v{version}"):
        raise ReleaseRefused(f"the tag v{version} is there already")
    path = root / CHANGELOG
    changelog = date_changelog(path.read_text(encoding="utf-8"), version, day)
    # An earlier attempt may have left wheels.
    shutil.rmtree(root / "dist" / version, ignore_errors=True)
    wheels = [_wheel(root, package, version, uv) for package in _packages(root)]
    path.write_text(changelog, encoding="utf-8")
    _git(root, "commit", "-q", "-m", f"chore(release): {version}", CHANGELOG)
    _git(root, "tag", "-a", "-m", f"Version {version}", f"v{version}")
    return wheels


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def _packages(root: Path) -> list[Path]:
    return sorted(path.parent for path in root.glob("*/pyproject.toml")) + sorted(
        path.parent for path in root.glob("services/*/pyproject.toml")
    )


def _wheel(root: Path, package: Path, version: str, uv: str) -> Path:
    folder = root / "dist" / version
    before = set(folder.glob("*.whl"))
    done = subprocess.run(
        [uv, "build", "-q", "--wheel", "--no-build-isolation", "-o", str(folder), str(package)],
        # The version normally comes from the tag, which does not exist before the build.
        env={**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": version},
        capture_output=True,
        text=True,
        check=False,
    )
    built = sorted(set(folder.glob(f"*-{version}-*.whl")) - before)
    if done.returncode or not built:
        raise ReleaseRefused(f"{package.name} cannot be built: {done.stderr.strip()}")
    return built[0]


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseRefused(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout


def main() -> int:
    """Release the version of the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("version")
    version = parser.parse_args().version
    today = dt.datetime.now(dt.UTC).date()
    uv = str(Path(sys.executable).with_name("uv"))
    try:
        wheels = release(Path(__file__).parents[1], version, today, uv)
    except ReleaseRefused as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(f"tagged v{version}; built {', '.join(wheel.name for wheel in wheels)}")
    print(f"To publish it: git push origin HEAD v{version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
