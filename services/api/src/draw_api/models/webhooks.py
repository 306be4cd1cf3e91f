"""The change feed, and webhooks that deliver it."""

import base64
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StrictBool

from draw_api.models.hosts import check_host
from draw_api.models.paging import Answer, Request
from draw_shared.contracts.texts import LINE, TextForm
from draw_shared.contracts.webhook_address import is_refused, numeric_address
from draw_shared.wording import message

ChangeKind = Literal[
    "instance.stored",
    "series.stable",
    "study.stable",
    "study.deleted",
    "instance.lost",
    "instance.conflict",
    "patient.ambiguous",
]
DeliveryState = Literal["pending", "delivered", "dead"]
MAX_COUNTED: Final = 1000
"""Deliveries of a webhook are counted up to this number; a receiver that hangs has very many."""


def _check_url(url: str) -> str:
    if not _is_usable(url):
        raise ValueError(message("must be an http or https URL without user name and fragment"))
    check_host(urlsplit(url).hostname or "")
    address = numeric_address(urlsplit(url).hostname or "")
    if address is not None and is_refused(address):
        raise ValueError(message("leads to an address where no receiver may be"))
    return url


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    known = parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0
    return known and parts.username is None and not parts.fragment


Url = Annotated[
    str,
    Field(max_length=500, examples=["https://handler.example/draw"]),
    TextForm(r"^[!-~]+$", message("must be an http or https URL without blanks")),
    AfterValidator(_check_url),
]


def _check_secret(secret: SecretStr) -> SecretStr:
    prefix, key = secret.get_secret_value()[: len(PREFIX)], secret.get_secret_value()[len(PREFIX) :]
    try:
        size = len(base64.b64decode(key, validate=True))
    except ValueError:
        size = 0
    if prefix != PREFIX or not MIN_KEY_BYTES <= size <= MAX_KEY_BYTES:
        raise ValueError(
            message(
                "must be %(prefix)s followed by %(least)s to %(most)s bytes in base64",
                prefix=PREFIX,
                least=MIN_KEY_BYTES,
                most=MAX_KEY_BYTES,
            )
        )
    return secret


PREFIX: Final = "whsec_"
MIN_KEY_BYTES: Final = 24
MAX_KEY_BYTES: Final = 64
"""Limits of the Standard Webhooks specification."""
Secret = Annotated[
    SecretStr,
    Field(
        max_length=200,
        description=f"signs deliveries: {PREFIX} followed by {MIN_KEY_BYTES} to {MAX_KEY_BYTES}"
        " bytes in base64 (Standard Webhooks); left out, one is made",
    ),
    AfterValidator(_check_secret),
]
Kinds = Annotated[list[ChangeKind], Field(min_length=1, max_length=7, examples=[["series.stable"]])]
USUAL_KINDS: Final[list[ChangeKind]] = ["series.stable", "study.stable", "study.deleted"]
Words = Annotated[str, Field(max_length=200), LINE]


class Change(Answer):
    """One entry of the feed; inapplicable fields are empty."""

    sequence: int
    kind: str = Field(examples=["series.stable"])
    occurred_at: datetime
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    reason: str = Field(
        description="why a series or study is complete: `association_ended`, `quiet` or `proved`",
        examples=["association_ended"],
    )
    new_instance_count: int | None = Field(
        description="objects of it that have come since it was complete the last time"
    )


class Changes(Answer):
    """The next entries, in order."""

    items: list[Change]
    next_since: int = Field(description="give it back as `since` to read on; never skips any")
    more: bool = Field(description="whether there are further entries already")
    trimmed: bool = Field(
        description="entries behind `since` are older than the feed is kept: read the index again"
    )


class NewWebhook(Request):
    """A URL that receives changes from now on."""

    url: Url
    secret: Secret | None = None
    kinds: Kinds = Field(default_factory=USUAL_KINDS.copy)
    description: Words = ""
    active: StrictBool = True


class WebhookChange(Request):
    """The fields to change; omitted ones stay as they are."""

    url: Url | None = None
    secret: Secret | None = Field(
        default=None, description="the one before signs as well for 24 hours"
    )
    kinds: Kinds | None = None
    description: Words | None = None
    active: StrictBool | None = Field(default=None, description="false keeps deliveries waiting")

    def values(self) -> dict[str, Any]:
        """Return the columns to write, with the secret in plain text."""
        found = self.model_dump(exclude_none=True)
        if self.secret is not None:
            found["secret"] = self.secret.get_secret_value()
        return found


class Webhook(Answer):
    """A URL that receives changes."""

    id: int
    url: str
    kinds: list[str]
    description: str
    active: bool
    failing_since: datetime | None = Field(
        description="first of the failures since the last success; null: none"
    )
    disabled_at: datetime | None = Field(
        description="when the suite itself made it inactive; setting `active` ends that"
    )
    disabled_reason: Literal["", "gone", "failing"] = Field(
        description="`gone`: the receiver answered 410; `failing`: it has failed for days"
    )
    created_at: datetime
    created_by: str
    updated_at: datetime
    pending: int = Field(
        description=f"deliveries on their way; {MAX_COUNTED + 1} means more than {MAX_COUNTED}"
    )
    dead: int = Field(
        description=f"deliveries that were given up; {MAX_COUNTED + 1} means more"
        f" than {MAX_COUNTED}"
    )


class WebhookMade(Webhook):
    """A new webhook."""

    secret: str | None = Field(
        description="signs deliveries; shown only now, and null when it was given"
    )


class SecretMade(Answer):
    """A new secret; the previous one also signs for 24 hours."""

    secret: str = Field(description="signs deliveries; shown only now")


class WebhookDelivery(Answer):
    """One change to be delivered to one webhook."""

    id: int
    sequence: int
    kind: str
    body: str = Field(description="the exact body that is sent")
    state: DeliveryState
    attempts: int
    next_attempt_at: datetime
    last_status: int | None = Field(description="HTTP status; null: no answer yet")
    last_error: str
    created_at: datetime
    finished_at: datetime | None


class Replayed(Answer):
    """What is sent again."""

    deliveries: int
