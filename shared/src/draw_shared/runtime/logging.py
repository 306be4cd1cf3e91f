"""JSON log lines with stable event names.

A line is an event name (`store.accepted`) and fields. Fields hold identifiers, sizes,
durations and states: never patient data, never a path that may contain some. What libraries
warn of is such a line too, and of pydicom nothing: it quotes what a peer has sent.
"""

import logging
import warnings
from pathlib import Path
from typing import Final, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

from draw_shared.runtime.log_output import LogOutput
from draw_shared.runtime.settings import ServiceSettings

LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
MAX_FIELD_CHARACTERS: Final = 512


def _bounded(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Cut long text, so that a peer cannot fill the log with one field."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > MAX_FIELD_CHARACTERS and key != "exception":
            event[key] = f"{value[:MAX_FIELD_CHARACTERS]}…"
    return event


class _LibraryLines(logging.Handler):
    """Hands the lines of libraries that use `logging` to the same output."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library.message",
            library=record.name,
            message=record.getMessage(),
        )


def _on_warning(
    message: Warning | str,  # noqa: ARG001 - part of the signature
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 - part of the signature
    line: str | None = None,  # noqa: ARG001 - part of the signature
) -> None:
    """Log that Python warned, and where; the text may quote a value that a peer has sent."""
    place = f"{Path(filename).name}:{lineno}"
    log.warning("library.warned", category=category.__name__, place=place)


log = structlog.get_logger()
_threshold = logging.INFO
_output = LogOutput()


def _wanted(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if LEVELS.get(method.upper(), logging.ERROR) < _threshold:
        raise structlog.DropEvent
    return event


def set_level(level: str) -> None:
    """Change the least severe level that is written, at once and for all threads."""
    global _threshold  # noqa: PLW0603 - the level is the process's, and changes live
    _threshold = LEVELS[level]


def is_written(level: str) -> bool:
    """Return whether lines of this level are written now: to be asked before many are made."""
    return LEVELS[level] >= _threshold


def lines_lost() -> int:
    """Return how many lines of this process the disk has not taken."""
    return _output.lost


def configure_for(settings: ServiceSettings) -> None:
    """Send every log line of a service to standard output, or to the log file that is set."""
    output = LogOutput(
        settings.log_file, max_bytes=settings.log_file_bytes, kept=settings.log_files_kept
    )
    configure(settings.log_level, service=settings.service, replica=settings.replica, output=output)


def configure(level: str, *, service: str, replica: str, output: LogOutput | None = None) -> None:
    """Send every log line of this process to standard output as one JSON object."""
    global _output  # noqa: PLW0603 - a process has one
    _output = output or LogOutput()
    set_level(level)
    structlog.configure(
        processors=[
            _wanted,
            _identity(service, replica),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _bounded,
            structlog.processors.EventRenamer("event"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _output)),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_LibraryLines(logging.WARNING)]
    root.setLevel(logging.WARNING)
    warnings.showwarning = _on_warning
    # It warns of each odd value, in words that quote it, and Python keeps those words for ever.
    warnings.filterwarnings("ignore", module="pydicom")
    # These log peers' data sets and reconnects of their own; the suite says what matters.
    for chatty in ("pynetdicom", "pydicom", "pika", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def _identity(service: str, replica: str) -> Processor:
    def named(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["replica"] = replica
        return event

    return named
