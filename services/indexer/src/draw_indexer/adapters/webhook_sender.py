"""Sends webhook deliveries over HTTP, only to addresses that an administrator allows.

Concurrency: one thread serves every receiver; a receiver that hangs costs a task, not a thread. One
deadline, by the clock, covers the whole exchange: name lookup, connecting, TLS, headers and body.
Redirects are not followed, and proxies of the environment are not used. The connection goes to the
very address that was checked: a later lookup of the name cannot lead elsewhere.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import httpcore
import structlog
from typing_extensions import override

from draw_indexer.models import WebhookAnswer
from draw_indexer.ports.webhooks import DeliverySender
from draw_shared.connection_words import why_not_connected
from draw_shared.contracts.webhook_address import is_refused
from draw_shared.wording import message

log = structlog.get_logger()

TIMEOUT_SECONDS: Final = 10.0
CONNECT_TIMEOUT_SECONDS: Final = 3.0
"""For one address of a name with several, so that the next one gets its turn."""
MAX_ANSWER_BYTES: Final = 65_536
"""The maximum to read of an answer's body; only the status counts."""
MIN_PART_BYTES: Final = 1024
"""The minimum that each part of a body counts: however small, it costs the thread its time."""
MAX_EXCHANGE_BYTES: Final = 2 * MAX_ANSWER_BYTES
"""The maximum to read from a connection, with headers, interim answers and chunk sizes."""

SUCCESS: Final = range(200, 300)
REDIRECTS: Final = range(300, 400)
UNKNOWN: Final = message("could not be sent")
REASONS: Final[Mapping[type[Exception], str]] = {
    httpcore.ConnectTimeout: message("no connection in time"),
    httpcore.ConnectError: message("no connection"),
    httpcore.NetworkError: message("the connection was lost"),
    httpcore.RemoteProtocolError: message("no HTTP answer"),
    httpcore.UnsupportedProtocol: message("not an http or https URL"),
}

Resolve = Callable[[str, int], list[str]]


class AddressRefused(OSError):
    """No address of the receiver may be connected to."""


class NameWithoutAddress(OSError):
    """The receiver's name has no address."""


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host, the preferred one first; blocks, perhaps for long."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class TooMuchSent(Exception):
    """The receiver sends more than any answer needs and would keep all others waiting."""

    def __init__(self) -> None:
        super().__init__(message("the answer has too many bytes"))


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection from which no more is read than a whole answer may have."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._room = MAX_EXCHANGE_BYTES

    @override
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._room <= 0:
            raise TooMuchSent
        found = await self._stream.read(min(max_bytes, self._room), timeout)
        self._room -= len(found)
        return found

    @override
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()

    @override
    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    @override
    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class NameLookups:
    """Looks up names, each in its own thread, which all who ask for the name share.

    A name server that does not answer delays no other lookup, and there are never more threads than
    names.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._running: dict[tuple[str, int], asyncio.Future[list[str] | NameWithoutAddress]] = {}

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host.

        Raises:
            NameWithoutAddress: it has none.
        """
        found = self._running.get((host, port))
        if found is None:
            loop = asyncio.get_running_loop()
            found = self._running[host, port] = loop.create_future()
            threading.Thread(
                target=self._look_up, args=(loop, host, port), name="webhook name", daemon=True
            ).start()
        addresses = await asyncio.shield(found)
        if isinstance(addresses, NameWithoutAddress):
            raise addresses
        return addresses

    def _look_up(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> None:
        found: list[str] | NameWithoutAddress
        try:
            found = self._resolve(host, port)
        except (OSError, UnicodeError):
            found = NameWithoutAddress(message("the name has no address"))
        # A sender that was stopped meanwhile has no loop any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._finish, (host, port), found)

    def _finish(self, key: tuple[str, int], found: list[str] | NameWithoutAddress) -> None:
        self._running.pop(key).set_result(found)


class CheckedNetwork(httpcore.AnyIOBackend):
    """Connects only to addresses that a receiver may have, for one exchange."""

    def __init__(self, lookups: NameLookups) -> None:
        self._lookups = lookups
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def close(self) -> None:
        """Close every connection: httpcore forgets one whose TLS handshake was interrupted."""
        for stream in self._opened:
            await stream.aclose()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: Exception = AddressRefused(message("this address may not be used"))
        for address in await self._lookups.addresses(host, port):
            if is_refused(address):
                continue
            try:
                opened = await super().connect_tcp(address, port, timeout=CONNECT_TIMEOUT_SECONDS)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                self._opened.append(opened)
                return BoundedStream(opened)
        raise failure


class HttpDeliverySender(DeliverySender):
    """Posts bodies; a component with one thread for any number of receivers."""

    name = "webhook sender"

    def __init__(
        self, *, timeout_seconds: float = TIMEOUT_SECONDS, resolve: Resolve = resolve
    ) -> None:
        self._timeout = timeout_seconds
        self._tls = ssl.create_default_context()
        self._lookups = NameLookups(resolve)
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> None:
        """Start the sending thread."""
        self._thread.start()

    def stop(self, deadline_seconds: float) -> None:
        """Abort what is under way; it is sent again later."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(deadline_seconds)

    @override
    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        answered: Callable[[WebhookAnswer], None],
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._post(url, body, headers, answered), self._loop)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        await self._stopped.wait()

    async def _post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        answered: Callable[[WebhookAnswer], None],
    ) -> None:
        network = CheckedNetwork(self._lookups)
        try:
            answered(await self._answer(network, url, body, headers))
        finally:
            await network.close()

    async def _answer(
        self, network: CheckedNetwork, url: str, body: bytes, headers: Mapping[str, str]
    ) -> WebhookAnswer:
        """Return the result of sending, within its time limit."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._exchange(network, url, body, headers)
        except TimeoutError:
            return WebhookAnswer(
                None,
                message(
                    "no complete answer within %(timeout)s s", timeout=format(self._timeout, "g")
                ),
            )
        except Exception as error:
            reason = _describe_error(error)
            if reason == UNKNOWN:
                log.exception("webhook.sending_failed")
            return WebhookAnswer(None, reason)

    async def _exchange(
        self, network: CheckedNetwork, url: str, body: bytes, headers: Mapping[str, str]
    ) -> WebhookAnswer:
        async with (
            httpcore.AsyncConnectionPool(self._tls, network_backend=network) as pool,
            pool.stream("POST", url, headers=list(headers.items()), content=body) as answer,
        ):
            read = 0
            with suppress(TooMuchSent):
                async for part in answer.aiter_stream():
                    read += max(len(part), MIN_PART_BYTES)
                    if read >= MAX_ANSWER_BYTES:
                        break
        return WebhookAnswer(answer.status, _describe_status(answer.status))


def _describe_status(status: int) -> str:
    """Return what a status means; the receiver's own words are not kept."""
    if status in SUCCESS:
        return ""
    if status in REDIRECTS:
        return message("redirects are not followed")
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return message("unknown status")


def _describe_error(error: Exception) -> str:
    """Return words for people; those of the HTTP library may quote what the receiver sent."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"TLS: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {cause.reason or message('no handshake')}"
        if isinstance(cause, AddressRefused | NameWithoutAddress | TooMuchSent):
            return str(cause)
        if isinstance(cause, OSError) and cause.errno:
            return why_not_connected(cause)
    for kind, words in REASONS.items():
        if isinstance(error, kind):
            return words
    return UNKNOWN


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
