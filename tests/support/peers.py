"""Real remote nodes for tests: Orthanc and DCMTK's dcmqrscp, each on a port of its own."""

from contextlib import contextmanager
from pathlib import Path

from bench import peers as servers
from support import senders
from support.service_finder import program
from support.suite import AE_TITLE

DCMQRSCP_CONFIG = """
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = {most}
HostTable BEGIN
draw = ({draw_ae}, 127.0.0.1, {draw_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMQR {folder} RW (500, 1024mb) ANY
AETable END
"""


@contextmanager
def orthanc(folder: Path, draw_port: int, **options):
    """Yield an Orthanc that knows the suite as destination of C-MOVE."""
    program("Orthanc", "orthanc")
    modalities = {"draw": [AE_TITLE, "127.0.0.1", draw_port]}
    with servers.orthanc(folder, DicomModalities=modalities, **options) as server:
        yield server


@contextmanager
def dcmqrscp(folder: Path, draw_port: int, max_associations: int = 16):
    """Yield a dcmqrscp that knows the suite as destination of C-MOVE."""
    dcmqrscp = program("dcmqrscp", "dcmtk")
    port = servers.free_port()
    (folder / "files").mkdir(parents=True)
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        DCMQRSCP_CONFIG.format(
            port=port,
            most=max_associations,
            draw_ae=AE_TITLE,
            draw_port=draw_port,
            folder=folder / "files",
        ),
        encoding="ascii",
    )
    with servers.running([dcmqrscp, "-c", str(config)], port, folder / "log") as pid:
        yield servers.Server("dcmqrscp", "DCMQR", port, {"server": pid}, answers_queries=True)


def fill(server, objects) -> None:
    """Store objects on a server."""
    with senders.association(
        server.port, senders.contexts_of(objects), called=server.ae_title
    ) as made:
        statuses = {made.send_c_store(one).Status for one in objects}
    assert statuses == {0}
