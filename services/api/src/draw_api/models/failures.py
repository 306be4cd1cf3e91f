"""How a request can fail; the edge alone knows which HTTP status each becomes."""

from collections.abc import Sequence
from dataclasses import dataclass

from draw_shared.errors import Permanent, Transient


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field of the request and what is wrong with it; `field` is a dotted path."""

    field: str
    message: str


class Refusal(Permanent):
    """The request is understood and refused; the text is shown to the client."""


class Unauthenticated(Refusal):
    """Nobody, or nobody known, is asking."""


class Forbidden(Refusal):
    """Somebody known is asking for what his role does not allow."""


class NotFound(Refusal):
    """What is asked for does not exist."""


class Conflict(Refusal):
    """The request does not fit the present state."""


class PreconditionFailed(Refusal):
    """Somebody else has changed it since the client read it."""


class PreconditionRequired(Refusal):
    """The client must say which version it read."""


class Invalid(Refusal):
    """Fields of the request have values that cannot be used."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("The request has values that cannot be used.")
        self.problems = tuple(problems)


class ProviderUnavailable(Transient):
    """The identity provider does not answer, or not as it should; the text is shown."""


class TryLater(Transient):
    """Not now; the text is shown to the client, with the time after which to try again."""

    def __init__(self, words: str, retry_after_seconds: int) -> None:
        super().__init__(f"{words}; try again in {retry_after_seconds} s.")
        self.retry_after_seconds = retry_after_seconds


class TooManyAttempts(TryLater):
    """Too many attempts in a short time."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("Too many attempts", retry_after_seconds)


class TooMuchAtOnce(TryLater):
    """One user asks for more at a time than is taken from one."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("Too many of your requests are under way", retry_after_seconds)


class Busy(TryLater):
    """Others were served, for too long."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("Others are being served and nothing was done", retry_after_seconds)
