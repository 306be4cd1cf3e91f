"""The suite's exceptions; the type alone decides whether a call is retried."""


class DrawError(Exception):
    """Base class of all exceptions that the suite raises on purpose."""


class Transient(DrawError):
    """The same call may succeed later: broker away, database restarting, peer busy."""


class Permanent(DrawError):
    """The same call will fail for ever: unknown destination, malformed object, refused AE title."""
