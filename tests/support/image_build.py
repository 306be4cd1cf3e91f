"""Builds an image's stages and starts the result without a container engine.

The instructions of a Dockerfile are carried out word for word, each in a mount namespace in
which the folders that the image fills lie over the machine's own. What the base image brings
(a Python with pip in /usr/local) is a virtual environment of this machine's Python; the rest
of the system is the machine's. So it proves the steps, the user, the read-only root and the
exec form; not the base image, and not the network policy of an engine.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from dockerfile_parse import DockerfileParser

OWN_FOLDERS = ("opt", "build", "web", "etc", "var/lib", "usr/local", "nonexistent")
"""What a stage has for itself; everything else is seen through from the machine."""
MACHINE = (
    "home",
    "pip_",
    "uv_",
    "ssl_cert_",
    "npm_",
    "node_extra_",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
"""How this machine reaches the registries is the machine's own."""
BASE_PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(slots=True)
class Instruction:
    """One line of a Dockerfile."""

    name: str
    value: str

    @property
    def flags(self) -> dict[str, str]:
        """The `--name=value` words it begins with."""
        found = {}
        for word in self.value.split():
            if not word.startswith("--"):
                break
            name, _, value = word[2:].partition("=")
            found[name] = value
        return found

    @property
    def rest(self) -> str:
        """The value without flags."""
        return re.sub(r"^(--\S+\s+)+", "", self.value)


def instructions(dockerfile: Path) -> list[Instruction]:
    """Return the instructions of a Dockerfile, comments left out."""
    with dockerfile.open("rb") as file:
        parser = DockerfileParser(fileobj=file)
        return [
            Instruction(part["instruction"], part["value"])
            for part in parser.structure
            if part["instruction"] != "COMMENT"
        ]


def assignments(value: str) -> dict[str, str]:
    """Return the variables of an ENV, ARG or LABEL."""
    return dict(word.partition("=")[::2] for word in shlex.split(value))


@dataclass(slots=True)
class Stage:
    """One stage as far as it is built."""

    folder: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": BASE_PATH})
    arguments: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def base_image(folder: Path) -> Path:
    """Make what stands for a base image: folders of its own and a Python with pip."""
    for own in OWN_FOLDERS:
        (folder / own).mkdir(parents=True, exist_ok=True)
    shutil.copytree("/etc", folder / "etc", symlinks=True, dirs_exist_ok=True)
    python = Path(sys.base_prefix) / "bin" / "python3"
    subprocess.run([python, "-m", "venv", folder / "usr/local"], check=True)
    return folder


def build_all(services: Iterable[str], context: Path, folder: Path, **arguments: str):
    """Build these services' images at the same time; return the last stage of each by name."""
    base = base_image(folder / "base")
    with ThreadPoolExecutor() as pool:
        builds = {
            name: pool.submit(
                ImageBuild(
                    context / "services" / name / "Dockerfile",
                    context,
                    base,
                    folder / name,
                    **arguments,
                ).run
            )
            for name in services
        }
        return {name: build.result() for name, build in builds.items()}


class ImageBuild:
    """The build of one Dockerfile in a folder of its own, from a base image that others share."""

    def __init__(
        self, dockerfile: Path, context: Path, base: Path, folder: Path, **arguments: str
    ) -> None:
        self._instructions = instructions(dockerfile)
        self._context = context
        self._ignore = (context / ".dockerignore").read_text(encoding="utf-8").split("\n")
        self._base = base
        self._folder = folder
        self._given = arguments
        self.stages: dict[str, Stage] = {}

    def run(self) -> Stage:
        """Carry out every instruction and return the last stage."""
        stage: Stage | None = None
        for instruction in self._instructions:
            if instruction.name == "FROM":
                stage = self._begin(instruction.value)
            elif stage is not None:
                getattr(self, f"_{instruction.name.lower()}")(stage, instruction)
        assert stage is not None
        return stage

    def _begin(self, value: str) -> Stage:
        parent, _, name = value.partition(" AS ")
        folder = self._folder / name
        above = self.stages.get(parent)
        # Links between stages, as layers are: a file is replaced there, never written again.
        copy = os.link if above else shutil.copy2
        parent_folder = above.folder if above else self._base
        shutil.copytree(parent_folder, folder, symlinks=True, copy_function=copy)
        stage = Stage(folder)
        if above is not None:
            stage.environment |= above.environment
            stage.user = above.user
        self.stages[name] = stage
        return stage

    def _arg(self, stage: Stage, instruction: Instruction) -> None:
        for name, value in assignments(instruction.value).items():
            stage.arguments[name] = self._given.get(name, value)

    def _env(self, stage: Stage, instruction: Instruction) -> None:
        for name, value in assignments(instruction.value).items():
            stage.environment[name] = value.replace("$PATH", stage.environment["PATH"])

    def _copy(self, stage: Stage, instruction: Instruction) -> None:
        *sources, target = instruction.rest.split()
        other = instruction.flags.get("from")
        for source in sources:
            if other is None:
                found = self._context / source
                skipped, copy = self._skipped, shutil.copy2
            else:
                found = self.stages[other].folder / source.lstrip("/")
                skipped, copy = None, os.link
            place = stage.folder / target.lstrip("/")
            if target.endswith("/"):
                place /= PurePosixPath(source).name
            place.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                shutil.copytree(
                    found,
                    place,
                    symlinks=True,
                    dirs_exist_ok=True,
                    ignore=skipped,
                    copy_function=copy,
                )
            else:
                assert skipped is None or not skipped(str(found.parent), [found.name]), source
                shutil.copy(found, place)

    def _skipped(self, folder: str, names: list[str]) -> set[str]:
        """Return which of these .dockerignore keeps out of the context."""
        found = set()
        for name in names:
            path = (Path(folder) / name).relative_to(self._context)
            out = False
            for line in self._ignore:
                rule = line.strip()
                if not rule or rule.startswith("#"):
                    continue
                keeps_in = rule.startswith("!")
                pattern = rule.removeprefix("!")
                above = [path, *path.parents][:-1]
                if pattern.startswith("**/"):
                    matches = any(fnmatch(part, pattern[3:]) for part in path.parts)
                else:
                    matches = any(fnmatch(str(part), pattern) for part in above)
                if matches:
                    out = not keeps_in
            if out:
                found.add(name)
        return found

    def _run(self, stage: Stage, instruction: Instruction) -> None:
        machine = {k: v for k, v in os.environ.items() if k.lower().startswith(MACHINE)}
        done = subprocess.run(
            _inside(stage, ["sh", "-c", instruction.rest]),
            env=machine | stage.environment | stage.arguments,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{instruction.rest}\n{done.stdout}\n{done.stderr}"

    def _user(self, stage: Stage, instruction: Instruction) -> None:
        stage.user = instruction.value

    def _cmd(self, stage: Stage, instruction: Instruction) -> None:
        stage.command = json.loads(instruction.value)

    def _healthcheck(self, stage: Stage, instruction: Instruction) -> None:
        stage.health = json.loads(instruction.rest.partition("CMD ")[2])

    def _label(self, stage: Stage, instruction: Instruction) -> None:
        """Say nothing to the build."""

    def _expose(self, stage: Stage, instruction: Instruction) -> None:
        """Say nothing to the build."""


def started(stage: Stage, words: list[str], **given: str) -> subprocess.Popen:
    """Start a command as an engine would with a read-only root and a volume for the storage."""
    return subprocess.Popen(
        _inside(stage, words, read_only=True),
        env=stage.environment | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def asked(stage: Stage, words: list[str], **given: str) -> subprocess.CompletedProcess:
    """Run a command in the image to its end."""
    with started(stage, words, **given) as process:
        said, _ = process.communicate(timeout=30)
    return subprocess.CompletedProcess(words, process.returncode, said)


def possible() -> bool:
    """Return whether this process may make mount namespaces."""
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return done.returncode == 0


def _inside(stage: Stage, words: list[str], *, read_only: bool = False) -> list[str]:
    """Return the words that run `words` with the stage's folders in their places."""
    steps = [
        f"mkdir -p /{own}; mount --bind {shlex.quote(str(stage.folder / own))} /{own}"
        for own in OWN_FOLDERS
        if own != "nonexistent"
    ]
    user = []
    if read_only:
        uid, gid = stage.user.split(":")
        user = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs"]
        steps += _everyone_may_use_python()
        storage = shlex.quote(stage.environment["DRAW_STORAGE_ROOT"])
        steps += [
            "mount -o remount,bind,ro /etc; mount -o remount,bind,ro /opt",
            "mount -o remount,bind,ro /usr/local; mount -o remount,bind,ro /var/lib",
            f"mount -t tmpfs -o uid={uid},gid={gid} tmpfs {storage}",
            "mount -t tmpfs tmpfs /tmp",
            "mount --bind / / && mount -o remount,bind,ro /",
        ]
    script = "; ".join(["set -e", *steps, 'exec "$@"'])
    return ["unshare", "--mount", "sh", "-c", script, "sh", *user, *words]


def _everyone_may_use_python() -> list[str]:
    """Return the steps that show root's Python, and nothing else of root's, to other users."""
    base = Path(sys.base_prefix)
    if not base.is_relative_to("/root"):
        return []
    return [
        "mkdir -p /tmp/base; mount --bind " + shlex.quote(str(base)) + " /tmp/base",
        "mount -t tmpfs -o mode=755 tmpfs /root",
        "mkdir -p " + shlex.quote(str(base)),
        "mount --move /tmp/base " + shlex.quote(str(base)),
    ]
