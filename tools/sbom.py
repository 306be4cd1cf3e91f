"""`make sbom`: writes the suite's bill of materials as a CycloneDX document in `dist/`.

It is generated offline from the locks alone. It lists every package that runs in a service or a
browser, with its version, its hashes and, if it is installed, its licence. Packages that only
development needs are not listed.
"""

import base64
import json
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT: Final = Path(__file__).resolve().parent.parent
OURS: Final = (
    "draw-shared", "draw-scp", "draw-indexer", "draw-qr-worker", "draw-dicomweb", "draw-api",
)  # fmt: skip
PYTHON_LOCK: Final = "requirements.lock"
NPM_LOCK: Final = "services/api/web/package-lock.json"
PINNED: Final = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;\\]+)")
HASH: Final = re.compile(r"--hash=sha256:(?P<digest>[0-9a-f]{64})")
LICENCES: Final = LicenseFactory()


def bom() -> Bom:
    """Return the suite's bill of materials."""
    made = Bom()
    suite = Component(
        name="draw-dicom", version=metadata.version(OURS[0]), type=ComponentType.APPLICATION
    )
    made.metadata.component = suite
    ours = [Component(name=name, version=metadata.version(name), bom_ref=name) for name in OURS]
    others = [*_of_python(), *_of_npm()]
    made.components.update([*ours, *others])
    made.register_dependency(suite, [*ours, *others])
    return made


def text() -> str:
    """Return the bill of materials as CycloneDX 1.6."""
    return JsonV1Dot6(bom()).output_as_string(indent=1)


def _of_python() -> Iterator[Component]:
    lines = (ROOT / PYTHON_LOCK).read_text(encoding="utf-8").replace("\\\n", "").splitlines()
    for line in lines:
        pinned = PINNED.match(line)
        if pinned is not None:
            name, version = pinned["name"], pinned["version"]
            made = Component(
                name=name,
                version=version,
                purl=PackageURL("pypi", None, name, version),
                bom_ref=f"pypi:{name}",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=d) for d in HASH.findall(line)],
            )
            licence = _licence(name)
            if licence:
                made.licenses.add(LICENCES.make_from_string(licence))
            yield made


def _of_npm() -> Iterator[Component]:
    lock = json.loads((ROOT / NPM_LOCK).read_text(encoding="utf-8"))
    for path, one in lock["packages"].items():
        if path and not one.get("dev"):
            name = path.rpartition("node_modules/")[2]
            digest = base64.b64decode(one["integrity"].removeprefix("sha512-")).hex()
            made = Component(
                name=name,
                version=one["version"],
                purl=PackageURL("npm", None, name, one["version"]),
                bom_ref=f"npm:{name}",
                hashes=[HashType(alg=HashAlgorithm.SHA_512, content=digest)],
            )
            made.licenses.add(LICENCES.make_from_string(one["license"]))
            yield made


def _licence(name: str) -> str:
    """Return the licence of an installed package in one line, or an empty string."""
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        # Pinned for another platform.
        return ""
    fields = [field for field in ("License-Expression", "License") if field in told]
    said = told[fields[0]] if fields else ""
    return said if "\n" not in said else ""


def main() -> int:
    """Write the document and return the exit code."""
    path = ROOT / "dist" / "draw-dicom.cdx.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text(), encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
