"""The ways in which a request can fail; only the handlers know the HTTP status of each."""

from collections.abc import Sequence
from dataclasses import dataclass

from draw_shared.errors import Permanent, Transient
from draw_shared.wording import message


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One field of the request and what is wrong with it; `field` is a dotted path."""

    field: str
    message: str


class Refusal(Permanent):
    """The request is understood and refused; the text is shown to the client."""


class Unauthenticated(Refusal):
    """The request has no credentials, or invalid ones."""


class Forbidden(Refusal):
    """The caller's role does not allow the request."""


class OldToken(Forbidden):
    """The form or request does not carry the token of the caller's session."""


class NotFound(Refusal):
    """The requested resource does not exist."""


class Conflict(Refusal):
    """The request does not fit the present state."""


class PreconditionFailed(Refusal):
    """Somebody else has changed the resource since the client read it."""


class PreconditionRequired(Refusal):
    """The client must say which version it read."""


class Invalid(Refusal):
    """Fields of the request have values that cannot be used."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__(message("The request has values that cannot be used."))
        self.problems = tuple(problems)


class UnusableText(Invalid):
    """A form holds characters that nothing can keep."""


class ProviderUnavailable(Transient):
    """The identity provider does not answer properly; the text is shown."""


class TryLater(Transient):
    """The request may be repeated later; the text and the delay are shown to the client."""

    def __init__(self, words: str, retry_after_seconds: int) -> None:
        super().__init__(
            message(
                "%(words)s; try again in %(seconds)s s.",
                words=words,
                seconds=retry_after_seconds,
            )
        )
        self.retry_after_seconds = retry_after_seconds


class TooManyAttempts(TryLater):
    """Too many attempts in a short time."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(message("Too many attempts"), retry_after_seconds)


class TooMuchAtOnce(TryLater):
    """One user has more requests at a time than are accepted from one user."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(message("Too many of your requests are under way"), retry_after_seconds)


class Busy(TryLater):
    """The request waited too long for its turn."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            message("Others are being served and nothing was done"), retry_after_seconds
        )
