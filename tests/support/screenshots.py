"""`make screenshots`: pictures of the web page into docs/images, of a real suite with made-up data.

Starts a suite and an Orthanc, sends phantoms, queries and retrieves, and takes the pictures.
"""

import io
import itertools
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from sqlalchemy import create_engine, text

from draw_shared.db.session import sqlalchemy_url
from support import browser as browsers
from support import peers, phantom, senders, service_finder
from support.browser import Visitor
from support.service_finder import ROOT
from support.suite import Suite, signed_in
from support.waiting import wait_until

IMAGES = ROOT / "docs" / "images"
MAX_PICTURE_BYTES = 300 * 1024
SIZE = {"width": 1280, "height": 860}
HERE = (
    ("Okafor^Adaeze", "RT-1040", "20261103", 40),
    ("Lindqvist^Björn", "RT-1041", "20261104", 14),
    ("Yamada^Taro", "RT-1042", "20261105", 18),
    ("Moreau^Élodie", "RT-1043", "20261109", 12),
    ("Novak^Petra", "RT-1044", "20261110", 16),
    ("Haddad^Karim", "RT-1045", "20261111", 10),
    ("Silva^Inês", "RT-1046", "20261112", 22),
)
THERE = (
    ("Andersen^Freja", "RT-0871", "20261012", 60),
    ("Andrade^Tomás", "RT-0902", "20261019", 24),
    ("Anand^Priya", "RT-0915", "20261021", 30),
    ("Anders^Jonas", "RT-0933", "20261026", 18),
    ("Angelou^Maria", "RT-0940", "20261028", 20),
)


# An hour of receiving takes an hour: what was received just now is spread over the last one.
SPREAD = text(
    """
    UPDATE transactions SET occurred_at = occurred_at - make_interval(mins =>
        (56 * abs(sin(id * 0.37)) * (0.55 + 0.45 * cos(id * 0.011)))::int)
    WHERE kind = 'c-store'
    """
)


def study(name, patient_id, day, slices, number):
    """Return a made-up study."""
    return phantom.study(
        slices=slices,
        PatientName=name,
        PatientID=patient_id,
        StudyDate=day,
        AccessionNumber=f"A26-{3100 + number}",
        StudyDescription="Thorax planning",
        ReferringPhysicianName="Grant^Moira^^Dr",
    )


def send(suite, objects, calling):
    """Send a study to the suite."""
    contexts = senders.contexts_of(objects)
    with senders.association(suite.dicom_port, contexts, calling=calling) as made:
        assert {made.send_c_store(one).Status for one in objects} == {0}


def fill(suite, remote):
    """Send, so that the chart of the last minutes shows something, and fill the remote node."""
    made = [study(*given, number) for number, given in enumerate(HERE)]
    for objects, calling in zip(made, itertools.cycle(("CT_ROOM_2", "PLANNING"))):
        send(suite, objects, calling)
    for number, given in enumerate(THERE, start=40):
        peers.fill(remote, study(*given, number))
    suite.wait_for_rows(len(HERE), "SELECT id FROM studies WHERE series_count = 4", 30)
    return str(made[0][0].StudyInstanceUID)


def work(suite, remote):
    """Query and retrieve, so that there are jobs; return the query."""
    with signed_in(suite.web_url) as client:
        nodes = [
            client.post("/api/v1/nodes", json=settings).raise_for_status().json()["id"]
            for settings in (
                node("Archive PACS", remote.ae_title, remote.port),
                node("Research archive", "RESEARCH", 1),
            )
        ]
        asked = {"level": "STUDY", "keys": {"PatientName": "AN*"}, "node_ids": nodes[:1]}
        query = client.post("/api/v1/queries", json=asked).raise_for_status().json()
        path = f"/api/v1/queries/{query['id']}"
        assert wait_until(lambda: client.get(path).json()["state"] == "complete", 60)
        found = client.get(f"{path}/results").json()["items"]
        for match in found[:3]:
            retrieve(client, nodes[0], match["attributes"]["StudyInstanceUID"])
        retrieve(client, nodes[1], "1.2.826.0.1.3680043.8.498.77")
        jobs = "/api/v1/retrieves?state=complete"
        assert wait_until(lambda: len(client.get(jobs).json()["items"]) >= 3, 60)
    return query["id"], nodes


def node(name, ae_title, port):
    return {
        "name": name,
        "ae_title": ae_title,
        "host": "127.0.0.1",
        "port": port,
        "supports_get": True,
    }


def retrieve(client, node_id, study_uid):
    body = {"node_id": node_id, "items": [{"study_instance_uid": study_uid}]}
    client.post("/api/v1/retrieves", json=body).raise_for_status()


def take(page, name):
    """Write one picture, with as few colours as keep it below the limit."""
    page.wait_for_timeout(800)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for colours in (256, 128, 64):
        out = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        if out.tell() < MAX_PICTURE_BYTES:
            break
    path = IMAGES / f"{name}.png"
    path.write_bytes(out.getvalue())
    print(f"{path.relative_to(ROOT)}: {out.tell() / 1024:.0f} KiB")


def pictures(suite, study_uid, query_id, nodes):
    """Take all pictures."""
    with browsers.chromium() as chromium:
        light = Visitor(chromium, suite.web_url, viewport=SIZE).sign_in()
        page = light.page
        page.locator("#flow canvas").wait_for()
        take(page, "dashboard")
        page.goto(f"/queries/{query_id}")
        page.locator("[name=selected]").nth(3).check()
        page.locator("[name=selected]").nth(4).check()
        take(page, "query")
        with signed_in(suite.web_url) as client:
            matches = client.get(f"/api/v1/queries/{query_id}/results").json()["items"]
            for match in matches[3:]:
                retrieve(client, nodes[0], match["attributes"]["StudyInstanceUID"])
        page.goto("/jobs")
        take(page, "jobs")
        page.goto("/studies")
        take(page, "studies")
        page.goto(f"/studies/{study_uid}")
        page.wait_for_load_state("networkidle")
        take(page, "study")
        page.locator(".series > a", has_text="CT thorax").click()
        page.wait_for_load_state("networkidle")
        take(page, "series")
        dark = Visitor(chromium, suite.web_url, viewport=SIZE, color_scheme="dark").share(light)
        dark.page.goto("/")
        dark.page.locator("#flow canvas").wait_for()
        take(dark.page, "dashboard-dark")
        dark.close()
        light.close()


def spread(database):
    """Give what was received times within the last hour."""
    engine = create_engine(sqlalchemy_url(database))
    with engine.begin() as connection:
        connection.execute(SPREAD)
    engine.dispose()


def main() -> int:
    """Take the pictures and return the exit code."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    url = service_finder.postgres_url()
    template = service_finder.migrated_template(url)
    with (
        tempfile.TemporaryDirectory() as folder,
        service_finder.cloned_database(url, template) as database,
        service_finder.broker().vhost() as broker,
    ):
        suite = Suite(Path(folder) / "suite", database, broker)
        suite.seed()
        try:
            suite.start()
            with peers.orthanc(Path(folder) / "orthanc", suite.dicom_port) as remote:
                study_uid = fill(suite, remote)
                query_id, nodes = work(suite, remote)
                time.sleep(5)
                spread(database)
                pictures(suite, study_uid, query_id, nodes)
        finally:
            suite.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
