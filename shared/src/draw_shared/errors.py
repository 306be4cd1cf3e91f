"""The suite's failures; the type alone decides whether something is tried again."""


class DrawError(Exception):
    """Anything the suite raises on purpose."""


class Transient(DrawError):
    """The same call may succeed later: broker away, database restarting, peer busy."""


class Permanent(DrawError):
    """The same call will fail for ever: unknown destination, malformed object, refused AE title."""
