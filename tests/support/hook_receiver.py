"""HTTP servers that take webhook deliveries: one answers as told, others as no server should."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DRIP_SECONDS = 1.0


class HookReceiver:
    """What came, in order, and what is answered: the given statuses first, then 204."""

    def __init__(self, url, *statuses):
        self.url = url
        self.statuses = list(statuses)
        self.requests = []
        self.lock = threading.Lock()


@contextmanager
def hook_receiver(*statuses, certificate=None):
    """Yield a receiver on a local port; with a certificate it speaks TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with receiver.lock:
                receiver.requests.append((dict(self.headers), body))
                status = receiver.statuses.pop(0) if receiver.statuses else 204
            self.send_response(status)
            if status in {301, 302, 307}:
                self.send_header("Location", receiver.url + "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate:
        scheme = "https"
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate.certificate, certificate.key)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = HookReceiver(f"{scheme}://127.0.0.1:{server.server_port}", *statuses)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- faults: what a receiver does with a connection whose request it has begun to read ----------


def hang(_connection, ended):
    """Answer nothing."""
    ended.wait()


def drip_headers(connection, ended):
    """Answer a byte a second, never to the end of the headers."""
    _drip(connection, ended, b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 10_000)


def drip_body(connection, ended):
    """Answer 200 at once and its body a byte a second."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    _drip(connection, ended, b"x" * 10_000)


def endless_headers(connection, ended):
    """Send headers as fast as they are taken."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not ended.is_set():
        connection.sendall(b"X-Padding: x\r\n" * 1000)


def endless_body(connection, ended):
    """Answer 200 and a body as fast as it is taken."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while not ended.is_set():
        connection.sendall(b"x" * 65_536)


def continue_for_ever(connection, ended):
    """Announce an answer again and again."""
    while not ended.is_set():
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.01)


def flood_of_interim_answers(connection, ended):
    """Announce an answer as often as is read."""
    while not ended.is_set():
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 4000)


def flood_of_chunks(connection, ended):
    """Answer 200 and a body in parts of one byte, as fast as they are taken."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not ended.is_set():
        connection.sendall(b"1;extension=0123456789\r\nx\r\n" * 4000)


def chunk_after_chunk(connection, ended):
    """Answer 200 and a body in parts of one byte, hundreds a second."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not ended.wait(0.005):
        connection.sendall(b"1\r\nx\r\n")


def speak_no_http(connection, _ended):
    """Answer in another protocol."""
    connection.sendall(b"220 smtp.example ESMTP\r\n")


def reset(connection, _ended):
    """Break the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _drip(connection, ended, answer):
    for byte in answer:
        connection.sendall(bytes([byte]))
        if ended.wait(DRIP_SECONDS):
            return


@contextmanager
def faulty_receiver(fault):
    """Yield the URL of a receiver that does this with every connection."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    serving = []

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(1)
            fault(connection, ended)
            # Closing at once would reset the connection, as there is more of the request.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                serving.append(threading.Thread(target=serve, args=(connection,)))
                serving[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in serving:
            thread.join()
