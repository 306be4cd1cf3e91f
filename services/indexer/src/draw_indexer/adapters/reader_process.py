"""`python -m draw_indexer.adapters.reader_process`: reads headers for the indexer, within limits.

Each request is one line of JSON on standard input, each answer one on standard output; the end of
the input ends the process. A list of paths asks for what the index holds; an object with paths and
subjects asks for the values of these, at which rules of routing look. A file that needs too much
memory gets a failure as its answer. A file that needs too much processor time, or crashes the
interpreter, ends the process; the indexer starts another one and loses nothing.
"""

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from draw_indexer.adapters.header_reader import HeaderReader
from draw_shared.dicom.confinement import allow_seconds, confine
from draw_shared.dicom.encoding.walk import Undecodable
from draw_shared.routing.subjects import ConditionSubject, subject_of
from draw_shared.storage.header_values import read_header_values
from draw_shared.wording import message

MISSING: Final = "missing"
STORAGE: Final = "storage"
UNREADABLE: Final = "unreadable"
HOSTILE: Final = "hostile"


def main(words: list[str]) -> None:
    """Answer until the input ends; the words are root, memory in MB, CPU seconds per batch."""
    root, memory_mb, cpu_seconds = words
    confine(int(memory_mb) * 1024**2)
    # Peers send odd character sets and values; the result says what was legible.
    warnings.simplefilter("ignore")
    reader = HeaderReader()
    for line in sys.stdin.buffer:
        allow_seconds(int(cpu_seconds))
        request = json.loads(line)
        if isinstance(request, list):
            answer = _answer(reader, Path(root), request)
        else:
            answer = _answer_values(Path(root), request)
        sys.stdout.buffer.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        sys.stdout.buffer.flush()
        reader.forget()


def _answer(reader: HeaderReader, root: Path, paths: list[str]) -> dict[str, Any]:
    """Return distinct documents, and for each file their numbers or a failure word and a reason."""
    documents: list[dict[str, Any]] = []
    numbers: dict[int, int] = {}

    def number(document: dict[str, Any]) -> int:
        found = numbers.get(id(document))
        if found is None:
            found = numbers[id(document)] = len(documents)
            documents.append(document)
        return found

    files: list[Any] = []
    for path in paths:
        found = _read(reader, f"{root}/{path}")
        if isinstance(found[0], str):
            files.append(found)
        else:
            patient, study, series, image, flaws = found
            said = [[flaw.name for flaw in flaws], flaws.words] if flaws else None
            files.append([number(patient), number(study), number(series), image, said])
    return {"documents": documents, "files": files}


def _answer_values(root: Path, request: dict[str, list[str]]) -> dict[str, Any]:
    """Return the values of each file, or a failure word and a reason."""
    subjects = [subject_of(name) for name in request["subjects"]]
    return {"values": [_read_values(root / path, subjects) for path in request["paths"]]}


def _read_values(path: Path, subjects: Sequence[ConditionSubject]) -> Any:  # noqa: ANN401 - JSON
    try:
        # To the reader of values a file that is not there is one that it cannot read.
        path.open("rb").close()
        return asdict(read_header_values(path, subjects))
    except FileNotFoundError:
        return MISSING, message("the file is not there")
    except OSError as error:
        return STORAGE, error.strerror or type(error).__name__
    except (MemoryError, RecursionError) as error:
        return HOSTILE, type(error).__name__


def _read(reader: HeaderReader, path: str) -> Sequence[Any]:
    """Return what the reader finds, or a failure word and a reason."""
    try:
        return reader.read(path)
    except FileNotFoundError:
        return MISSING, message("the file is not there")
    except OSError as error:
        return STORAGE, error.strerror or type(error).__name__
    except Undecodable as error:
        return UNREADABLE, str(error)
    except (MemoryError, RecursionError) as error:
        reader.forget()
        return HOSTILE, type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1:])
