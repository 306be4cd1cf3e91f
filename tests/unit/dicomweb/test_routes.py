"""Every address of DICOMweb names the permission that it needs.

What a permission means for roles and tokens is in tests/unit/api/test_permissions.py.
"""

from pathlib import Path

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from draw_dicomweb.app import DicomWeb
from draw_dicomweb.handlers.guards import ByMethod, Guarded
from draw_dicomweb.settings import DicomwebSettings
from draw_shared.access.permissions import Permission
from draw_shared.web.identity import permission_of

SEARCHED = {
    "/dicom-web/studies",
    "/dicom-web/series",
    "/dicom-web/instances",
    "/dicom-web/studies/{studies}/series",
    "/dicom-web/studies/{studies}/instances",
    "/dicom-web/studies/{studies}/series/{series}/instances",
}
PROBES = {"/livez", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def permissions(tmp_path_factory):
    """By method and path, the permission that is named, or None."""
    application = DicomWeb(
        DicomwebSettings(
            database_url="postgresql://nobody@127.0.0.1:1/none",
            broker_url="amqp://127.0.0.1:1/",
            storage_root=Path(tmp_path_factory.mktemp("storage")),
        )
    ).application()
    routes = [one.original_route for one in iter_route_contexts(application.routes)]
    return {
        (method, route.path): permission
        for route in routes
        for method, permission in named_by(route).items()
    }


def named_by(route):
    if isinstance(route, APIRoute):
        return dict.fromkeys(route.methods, permission_of(route.dependant))
    endpoint = route.endpoint
    guarded = endpoint.endpoints if isinstance(endpoint, ByMethod) else [endpoint]
    if not all(isinstance(one, Guarded) for one in guarded):
        return {"*": None}
    return {method: one.permission for one in guarded for method in one.methods}


def test_every_address_names_a_permission(permissions):
    assert [asked for asked, named in permissions.items() if named is None] == []
    assert {path for _, path in permissions} >= SEARCHED | PROBES


def test_only_probes_are_open_to_everybody(permissions):
    open_to_all = {path for (_, path), p in permissions.items() if p is Permission.OBSERVE}
    assert open_to_all == PROBES


def test_who_may_search_need_not_be_one_who_may_retrieve_or_store(permissions):
    assert {permissions["GET", path] for path in SEARCHED} == {Permission.READ_ARCHIVE}
    study = "/dicom-web/studies/{studies}"
    assert permissions["GET", study] is Permission.DOWNLOAD_OBJECTS
    storing = {asked for asked, named in permissions.items() if named is Permission.STORE_OBJECTS}
    assert storing == {("POST", study), ("POST", "/dicom-web/studies")}
