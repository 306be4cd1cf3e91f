"""JSON log lines with stable event names.

A line is an event name (`store.accepted`) and fields. Fields hold identifiers, sizes,
durations and states: never patient data, never a path that may contain some.
"""

import logging
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
LONGEST_FIELD: Final = 512


def _bounded(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Cut long text, so that a peer cannot fill the log with one field."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > LONGEST_FIELD and key != "exception":
            event[key] = f"{value[:LONGEST_FIELD]}…"
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


_threshold = logging.INFO


def _wanted(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    if LEVELS.get(method.upper(), logging.ERROR) < _threshold:
        raise structlog.DropEvent
    return event


def set_level(level: str) -> None:
    """Change the least severe level that is written, at once and for all threads."""
    global _threshold  # noqa: PLW0603 - the level is the process's, and changes live
    _threshold = LEVELS[level]


def configure(level: str, *, service: str, replica: str) -> None:
    """Send every log line of this process to standard output as one JSON object."""
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
        # One write a line: another process of the service may write to the same output.
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_LibraryLines(logging.WARNING)]
    root.setLevel(logging.WARNING)
    # These log peers' data sets and reconnects of their own; the suite says what matters.
    for chatty in ("pynetdicom", "pydicom", "pika", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def _identity(service: str, replica: str) -> Processor:
    def named(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        event["replica"] = replica
        return event

    return named
