"""The child process of `object_reader`: opens objects one by one and describes their content.

It reads requests from standard input, and a bad file does not end it. Failures are described in
words, without anything from the file.
"""

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from draw_api.adapters.object_elements import elements
from draw_api.adapters.object_pixels import NoSuchFrame, NotAnImage, facts, picture
from draw_shared.dicom.confinement import allow_seconds, confine, held_bytes
from draw_shared.routing.subjects import subject_of
from draw_shared.storage.header_values import read_header_values
from draw_shared.wording import message

MEMORY_BYTES: Final = 1280 * 1024**2
MAX_CPU_SECONDS: Final = 20
"""The processor time for one request."""

WORN_BYTES: Final = MEMORY_BYTES // 2
"""A child that still holds so much memory after an answer is replaced: failed codecs leak.

So is a child that ran out of memory, since either the object or a leak may be the cause.
"""
NOT_ENOUGH: Final = message("it needs too much memory")

Answer = tuple[dict[str, Any], bytes]


def _facts(request: Mapping[str, Any]) -> Answer:
    return {"facts": facts(request["path"], request["frame"])}, b""


def _picture(request: Mapping[str, Any]) -> Answer:
    content, media_type = picture(
        request["path"],
        frame=request["frame"],
        center=request["center"],
        width=request["width"],
        edge=request["edge"],
        inverted=request["inverted"],
    )
    return {"media_type": media_type}, content


def _elements(request: Mapping[str, Any]) -> Answer:
    return {"elements": elements(request["path"], request["search"])}, b""


def _values(request: Mapping[str, Any]) -> Answer:
    subjects = [subject_of(name) for name in request["subjects"]]
    found = read_header_values(Path(request["path"]), subjects)
    return {"values": asdict(found)}, b""


ACTIONS: Final[dict[str, Callable[[Mapping[str, Any]], Answer]]] = {
    "facts": _facts,
    "picture": _picture,
    "elements": _elements,
    "values": _values,
}


def answer(request: Mapping[str, Any]) -> Answer:
    """Return the answer to one request, or words that say why there is none."""
    try:
        return ACTIONS[request["action"]](request)
    except NoSuchFrame:
        return {"trouble": message("no such frame")}, b""
    except NotAnImage as error:
        return {"trouble": str(error)}, b""
    except MemoryError:
        return {"trouble": NOT_ENOUGH}, b""
    except Exception as error:  # noqa: BLE001 - codecs raise whatever they like
        return {
            "trouble": message("it cannot be decoded (%(error)s)", error=type(error).__name__)
        }, b""


def main() -> None:
    """Answer until there are no more requests."""
    confine(MEMORY_BYTES)
    warnings.simplefilter("ignore")
    for line in sys.stdin.buffer:
        allow_seconds(MAX_CPU_SECONDS)
        said, content = answer(json.loads(line))
        worn = said.get("trouble") == NOT_ENOUGH or held_bytes() > WORN_BYTES
        head = json.dumps(said | {"bytes": len(content), "worn": worn}).encode()
        sys.stdout.buffer.write(head + b"\n" + content)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
