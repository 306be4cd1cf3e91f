"""The DICOMweb service in the test's process, with everything that storing needs."""

import io
import json
import os
import re
import secrets
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import httpx
from sqlalchemy import text

from draw_dicomweb.app import DicomWeb
from draw_dicomweb.settings import DicomwebSettings
from draw_shared.access.authentication import token_hash
from draw_shared.contracts.server_config import EVERYTHING
from draw_shared.db.migrate import seed_config
from draw_shared.db.session import Database
from draw_shared.messaging import connection, topology
from support.suite import rows_in
from support.waiting import wait_until
from tools.processes import free_port

ADD_USER = text(
    "INSERT INTO users (name, role) VALUES (:role, :role)"
    " ON CONFLICT (name) DO UPDATE SET active = true RETURNING id"
)
ADD_TOKEN = text(
    "INSERT INTO api_tokens (name, role, token_hash, user_id)"
    " VALUES ('test', :role, :token_hash, :user_id)"
)
ADD_SESSION = text(
    "INSERT INTO web_sessions (token_hash, user_id, csrf_token, expires_at)"
    " VALUES (:token_hash, :user_id, 'x', now() + interval '1 hour')"
)
NEXT_CONFIG = text(
    "INSERT INTO server_config (version, document, created_by) SELECT version + 1,"
    " jsonb_set(document, :path, CAST(:value AS jsonb)), 'test'"
    " FROM server_config ORDER BY version DESC LIMIT 1"
)


def prepare(database, broker_url):
    """Give the suite its configuration with everything on, and the broker its queues."""
    with database.session() as session:
        seed_config(session, EVERYTHING)
        session.commit()
    opened = connection.connect(broker_url, "test")
    topology.declare(opened.channel())
    opened.close()


def add_token(database, role="operator"):
    """Return a bearer token of a user of this role, who is called as the role."""
    return _add_credential(database, role, ADD_TOKEN)


def _add_credential(database, role, statement):
    token = secrets.token_hex(16)
    with database.session() as session:
        linked = session.connection()
        user_id = linked.execute(ADD_USER, {"role": role}).scalar_one()
        values = {"role": role, "token_hash": token_hash(token), "user_id": user_id}
        linked.execute(statement, values)
        session.commit()
    return token


REFERENCED, FAILED, OTHER, REASON = "00081199", "00081198", "0008119A", "00081197"


class StoringService:
    """One started service; the lifecycle's signals are the test run's own."""

    def __init__(self, database_url, broker_url, storage):
        self.root = storage
        self.database = Database(database_url)
        self.dicomweb = DicomWeb(
            DicomwebSettings(
                database_url=database_url,
                broker_url=broker_url,
                storage_root=storage,
                dicomweb_port=0,
                replica="test-dicomweb",
            )
        )
        self._components = self.dicomweb.lifecycle()._components
        self.web = self._components[-1]
        self._ends = ExitStack()

    def __enter__(self):
        for component in self._components:
            component.start()
            self._ends.callback(partial(component.stop, 5))
        self.token = add_token(self.database)
        self.client = self.client_of(self.token)
        return self

    def __exit__(self, *_):
        self._ends.close()
        self.database.dispose()
        self.dicomweb._database.dispose()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.web.port}"

    @property
    def application(self):
        """What the web server serves."""
        return self.web._server.config.app

    def client_of(self, token="", **headers):
        """Return a client with a bearer token, or without one."""
        known = {"Authorization": f"Bearer {token}"} if token else {}
        # Reading the system's certificates takes longer than most tests.
        client = httpx.Client(
            base_url=f"{self.url}/dicom-web",
            headers=known | headers,
            timeout=120,
            verify=False,  # noqa: S501 - there is no TLS
        )
        return self._ends.enter_context(client)

    def session(self, role="operator"):
        """Return the token of a browser's session of a user of this role."""
        return _add_credential(self.database, role, ADD_SESSION)

    def configure(self, path, value):
        """Change one field of the configuration, and return when it is in force."""
        values = {"path": path.split("."), "value": json.dumps(value)}
        with self.database.session() as session:
            session.connection().execute(NEXT_CONFIG, values)
            session.commit()
        self.dicomweb._config.refresh()

    def rows(self, statement, **values):
        return rows_in(self.database.engine, statement, values)


def body_of(parts, boundary="0f8e", *, headers="Content-Type: application/dicom\r\n", end="--\r\n"):
    """Return the body of these parts."""
    begun = f"--{boundary}\r\n{headers}\r\n".encode()
    whole = b"".join(begun + part + b"\r\n" for part in parts)
    return whole + f"--{boundary}{end}".encode()


def media_type(boundary="0f8e", kind="application/dicom"):
    return {"Content-Type": f'multipart/related; type="{kind}"; boundary={boundary}'}


def part10(made):
    """Return an object as a file."""
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def reported(answer, tag):
    """Return the instances of a sequence of the answer."""
    items = answer.json().get(tag, {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items]


def reasons(answer):
    """Return the reasons of all failures, those of nameless parts last."""
    found = answer.json()
    items = [i for tag in (FAILED, OTHER) for i in found.get(tag, {}).get("Value", [])]
    return [item[REASON]["Value"][0] for item in items]


def described(made, bulk):
    """Return metadata of an object, with its pixel data apart."""

    def handler(element):
        uri = f"bulk/{len(bulk)}"
        bulk[uri] = element.value
        return uri

    return made.to_json_dict(1024, handler)


def json_body(metadata, bulk):
    body = b"--0f8e\r\nContent-Type: application/dicom+json\r\n\r\n"
    body += json.dumps(metadata).encode() + b"\r\n"
    for uri, content in bulk.items():
        kind = b"application/octet-stream"
        body += b"--0f8e\r\nContent-Type: " + kind + b"\r\nContent-Location: " + uri.encode()
        body += b"\r\n\r\n" + content + b"\r\n"
    return body + b"--0f8e--"


def begin(service, content, length, port=None):
    """Send the beginning of a request, and return its connection."""
    made = socket.create_connection(("127.0.0.1", port or service.web.port), 60)
    made.sendall(
        b"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        + service.token.encode()
        + b"\r\nContent-Type: multipart/related; boundary=0f8e\r\n"
        + f"Content-Length: {length}\r\n\r\n".encode()
        + content
    )
    return made


class DicomwebProcess:
    """The service as a process of its own."""

    def __init__(self, database, database_url, broker_url, root):
        self.root, self.port = root, free_port()
        self.token = add_token(database)
        self.url = f"http://127.0.0.1:{self.port}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRAW_")}
        self._environment = {
            **inherited,
            "DRAW_DATABASE_URL": database_url,
            "DRAW_BROKER_URL": broker_url,
            "DRAW_STORAGE_ROOT": str(root),
            "DRAW_REPLICA": "one",
            "DRAW_DICOMWEB_PORT": str(self.port),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }

    def start(self, **more):
        with (self.root.parent / "dicomweb.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "draw_dicomweb"],
                env=self._environment | more,
                stdout=log,
                stderr=log,
            )
        assert wait_until(self._ready), (self.root.parent / "dicomweb.log").read_text()

    def _ready(self):
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", verify=False).status_code == 200  # noqa: S501
        return False

    def kill(self):
        self._process.kill()
        self._process.wait()

    def store(self, content, **headers):
        known = {"Authorization": f"Bearer {self.token}"}
        return httpx.post(
            f"{self.url}/dicom-web/studies",
            content=content,
            headers=known | media_type() | headers,
            timeout=300,
            verify=False,  # noqa: S501 - there is no TLS
        )

    @property
    def most_resident_bytes(self):
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
