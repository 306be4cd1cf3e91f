"""The API on a port of its own in the test's process, and clients of each role."""

from contextlib import ExitStack

import httpx

from draw_api.adapters.web_server import WebServer
from draw_api.app import Api
from draw_api.models.access import Principal, Role
from draw_api.models.users import NewUser
from draw_api.settings import Settings
from draw_shared.db.session import Database
from support.suite import rows

PASSWORD = "correct horse battery"
NO_BROKER = "amqp://guest:guest@127.0.0.1:1/none"


class ApiHarness:
    """One API; wake-ups go nowhere, because there is no broker."""

    def __init__(self, database_url, storage, **settings):
        self.database = Database(database_url)
        self.settings = Settings(
            database_url=database_url,
            broker_url=NO_BROKER,
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
        with self.api.work() as work:
            work.access.ensure_administrator(PASSWORD)
        return self

    def __exit__(self, *_):
        self._clients.close()
        self.web.stop(5)
        self.database.dispose()
        self.api._database.dispose()

    def client(self):
        """Return a client that nobody knows."""
        return self._clients.enter_context(httpx.Client(base_url=self.url, timeout=20))

    def signed_in(self, name, password=PASSWORD):
        """Return a client with a session of this user."""
        client = self.client()
        answer = client.post("/api/v1/session", json={"name": name, "password": password})
        answer.raise_for_status()
        client.headers["X-CSRF-Token"] = answer.json()["csrf_token"]
        return client

    def of_role(self, role):
        """Return a client with a session of a user of this role, called as the role."""
        if role == "admin":
            return self.signed_in("admin")
        by = Principal(0, "test", Role.ADMIN, "")
        with self.api.work() as work:
            work.users.add(by, NewUser(name=role, role=role, password=PASSWORD))
        return self.signed_in(role)

    def rows(self, statement, **values):
        """Return what a query finds."""
        url = self.settings.database_url.get_secret_value()
        return rows(url, statement, **values)

    def actions(self):
        """Return actor, name and detail of the management actions on record, oldest first."""
        found = self.rows(
            "SELECT actor, action, detail FROM transactions WHERE kind = 'management' ORDER BY id"
        )
        return [(row["actor"], row["action"], row["detail"]) for row in found]
