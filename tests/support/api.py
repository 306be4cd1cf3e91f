"""The API on a port of its own in the test's process, and clients of each role."""

from contextlib import ExitStack
from functools import cache
from pathlib import Path

import httpx
from sqlalchemy import text

from draw_api.adapters.passwords import Argon2Passwords
from draw_api.app import Api
from draw_api.models.access import Account
from draw_api.models.users import NewToken
from draw_api.settings import ApiSettings
from draw_shared.access.principals import Principal, Role
from draw_shared.db.session import Database
from draw_shared.web.identity import COOKIE, CSRF_HEADER
from draw_shared.web.server import WebServer
from support.suite import rows_in

TOKEN_OWNER = "token-owner"
ENSURE_TOKEN_OWNER = text(
    f"INSERT INTO users (name, role) VALUES ('{TOKEN_OWNER}', 'admin')"  # noqa: S608
    " ON CONFLICT (name) DO UPDATE SET role = 'admin', active = true RETURNING id"
)
ADD_USER = text(
    "INSERT INTO users (name, role, password_hash) VALUES (:name, :name, :hash)"
    " ON CONFLICT (name) DO NOTHING"
)
PASSWORD = "correct horse battery"
NO_BROKER = "amqp://guest:guest@127.0.0.1:1/none"


@cache
def password_hash():
    """Return the hash of the users' password, which takes a fifth of a second to make."""
    return Argon2Passwords().hash(PASSWORD)


class ApiHarness:
    """One API; wake-ups go nowhere, and without a URL there is no broker at all."""

    def __init__(self, database_url, storage, *, broker_url=NO_BROKER, **settings):
        self.database = Database(database_url)
        self.settings = ApiSettings(
            database_url=database_url,
            broker_url=broker_url,
            storage_root=storage,
            admin_password=PASSWORD,
            replica="test-api",
            **settings,
        )
        self.api = Api(self.settings)
        self.application = self.api.application()
        self.web = WebServer(self.application, "127.0.0.1", 0, trusted_proxies="")
        self._clients = ExitStack()

    @property
    def url(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self.web.port}"

    def __enter__(self):
        self.web.start()
        self._add_user("admin")
        return self

    def __exit__(self, *_):
        self._clients.close()
        self.web.stop(5)
        self.database.dispose()
        self.api._database.dispose()

    def client(self):
        """Return a client that nobody knows."""
        # Reading the system's certificates takes longer than most tests.
        client = httpx.Client(base_url=self.url, timeout=60, verify=False)  # noqa: S501
        return self._clients.enter_context(client)

    def signed_in(self, name, password=PASSWORD):
        """Return a client with a session of this user."""
        client = self.client()
        answer = client.post("/api/v1/session", json={"name": name, "password": password})
        answer.raise_for_status()
        client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        return client

    def of_role(self, role):
        """Return a client with a session of a user of this role, called as the role."""
        self._add_user(role)
        return self.with_session(role)

    def with_session(self, name):
        """Return a client with a session of this user, who was not asked for a password."""
        [user] = self.rows("SELECT id, role FROM users WHERE name = :name", name=str(name))
        started = self._session(user["id"], name, Role(user["role"]))
        client = self.client()
        client.cookies.set(COOKIE, started.token, domain="127.0.0.1", path="/")
        client.headers[CSRF_HEADER] = started.session.csrf_token
        return client

    def token(self, role=Role.ADMIN):
        """Return a bearer token of an administrator, whatever was done to users meanwhile."""
        by = Principal(self._token_owner(), TOKEN_OWNER, Role.ADMIN, "")
        with self.api.work() as work:
            return work.users.make_token(by, NewToken(name="test", role=role)).token

    def session_headers(self):
        """Return what a browser of an administrator sends, whatever was done to passwords."""
        started = self._session(self._token_owner(), TOKEN_OWNER, Role.ADMIN)
        return {"Cookie": f"{COOKIE}={started.token}", CSRF_HEADER: started.session.csrf_token}

    def _session(self, user_id, name, role):
        account = Account(user_id, name, role, "", active=True)
        with self.api.work() as work:
            return work.access.start_session(account, "127.0.0.1")

    def _add_user(self, name):
        values = {"name": str(name), "hash": password_hash()}
        with self.database.session() as session:
            session.connection().execute(ADD_USER, values)
            session.commit()

    def _token_owner(self):
        with self.database.session() as session:
            user_id = session.connection().execute(ENSURE_TOKEN_OWNER).scalar_one()
            session.commit()
        return user_id

    def rows(self, statement, **values):
        """Return what a query finds."""
        return rows_in(self.database.engine, statement, values)

    def actions(self):
        """Return actor, name and detail of the management actions on record, oldest first."""
        found = self.rows(
            "SELECT actor, action, detail FROM transactions WHERE kind = 'management' ORDER BY id"
        )
        return [(row["actor"], row["action"], row["detail"]) for row in found]


@cache
def offline_application():
    """Return the application of an API that has nothing to connect to; not to be changed."""
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    settings = ApiSettings(database_url=nowhere, broker_url=NO_BROKER, storage_root=Path("/none"))
    return Api(settings).application()


@cache
def offline_document():
    """Return the OpenAPI document of an API that has nothing to connect to; not to be changed."""
    return offline_application().openapi()
