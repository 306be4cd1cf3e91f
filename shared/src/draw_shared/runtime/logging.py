"""JSON log lines with stable event names.

A line is an event name (`store.accepted`) and fields. Fields contain identifiers, sizes,
durations and states: never patient data, never a path that may contain some. Warnings of
libraries become such lines too, except those of pydicom, which quote data of peers.
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


def _truncate_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Truncate long text, so that a peer cannot fill the log with one field."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > MAX_FIELD_CHARACTERS and key != "exception":
            event[key] = f"{value[:MAX_FIELD_CHARACTERS]}…"
    return event


class _LibraryLines(logging.Handler):
    """Sends the lines of libraries that use `logging` to the same output."""

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
    """Log category and place of a Python warning; its text may quote a value from a peer."""
    place = f"{Path(filename).name}:{lineno}"
    log.warning("library.warned", category=category.__name__, place=place)


log = structlog.get_logger()
_threshold = logging.INFO
_output = LogOutput()


def _drop_below_level(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if LEVELS.get(method.upper(), logging.ERROR) < _threshold:
        raise structlog.DropEvent
    return event


def set_level(level: str) -> None:
    """Change the minimum level that is written, at once and for all threads."""
    global _threshold  # noqa: PLW0603 - the level is the process's, and changes live
    _threshold = LEVELS[level]


def is_written(level: str) -> bool:
    """Return whether lines of this level are written; callers check it before costly lines."""
    return LEVELS[level] >= _threshold


def lines_lost() -> int:
    """Return how many lines of this process could not be written."""
    return _output.lost


def configure_for(settings: ServiceSettings) -> None:
    """Send every log line of a service to standard output, or to the configured log file."""
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
            _drop_below_level,
            _identity(service, replica),
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _truncate_fields,
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
    # pydicom quotes odd values in its warnings, and Python remembers every warning text.
    warnings.filterwarnings("ignore", module="pydicom")
    # These log peers' data sets and their own reconnects; the suite logs what matters.
    for chatty in ("pynetdicom", "pydicom", "pika", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def _identity(service: str, replica: str) -> Processor:
    def named(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["replica"] = replica
        return event

    return named
