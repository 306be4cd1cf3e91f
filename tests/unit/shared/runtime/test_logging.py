"""The shape of log lines."""

import json
import logging as standard
import os
import resource
import subprocess
import sys

import pytest
import structlog

from draw_shared.runtime import logging


@pytest.fixture
def lines(capfd):
    logging.configure("INFO", service="scp", replica="r1")
    yield lambda: [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    structlog.reset_defaults()
    standard.getLogger().handlers[:] = []


def test_a_line_is_json_with_event_name_and_identity(lines):
    structlog.get_logger().info("store.accepted", size_bytes=3)
    (line,) = lines()
    assert line["event"] == "store.accepted"
    assert line["service"] == "scp"
    assert line["replica"] == "r1"
    assert line["level"] == "info"
    assert line["size_bytes"] == 3
    assert line["time"].endswith("Z")


def test_the_level_changes_live(lines):
    logger = structlog.get_logger()
    logger.debug("quiet.one")
    logging.set_level("DEBUG")
    logger.debug("quiet.two")
    logging.set_level("ERROR")
    logger.warning("quiet.three")
    assert [line["event"] for line in lines()] == ["quiet.two"]


def test_text_of_a_peer_is_bounded_and_stays_one_line(lines):
    structlog.get_logger().info("association.rejected", calling_ae="A\n" * 5000)
    (line,) = lines()
    assert len(line["calling_ae"]) < 600


def test_libraries_speak_through_the_same_output(lines):
    standard.getLogger("somelibrary").warning("odd %s", "thing")
    (line,) = lines()
    assert line["event"] == "library.message"
    assert line["message"] == "odd thing"


def test_no_warning_quotes_what_a_peer_has_sent():
    """A remote node answers with odd values; pydicom warns of each and quotes it."""
    program = (
        "import warnings; from pydicom.dataset import Dataset;"
        "from draw_shared.runtime import logging;"
        "logging.configure('INFO', service='qr-worker', replica='r1');"
        "found = Dataset(); found.PatientBirthDate = 'DOE 1956'; found.PatientSex = 'doe';"
        "warnings.warn('the patient is DOE')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    (line,) = map(json.loads, done.stdout.splitlines())
    assert line["event"] == "library.warned"
    assert line["category"] == "UserWarning"
    assert line["place"] == "<string>:1"
    assert "DOE" not in done.stdout


def test_processes_that_share_an_output_never_mix_their_lines(tmp_path):
    """As a receiver and its announcer do, with the unbuffered output of containers."""
    program = (
        "import structlog; from draw_shared.runtime import logging;"
        "logging.configure('INFO', service='scp', replica='r1');"
        "[structlog.get_logger().info('store.accepted', n=n) for n in range(20000)]"
    )
    output = tmp_path / "log"
    with output.open("ab") as file:
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", program],
                stdout=file,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            for _ in range(2)
        ]
        assert [writer.wait(30) for writer in writers] == [0, 0]
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert sorted(line["n"] for line in found) == sorted([*range(20000)] * 2)


def log_file_writer(log, numbers, *, max_bytes, kept, limit=None):
    """Start a process that logs these numbers to a file, which it rotates."""
    program = (
        "import structlog, sys; from pathlib import Path; from draw_shared.runtime import logging;"
        "from draw_shared.runtime.log_output import LogOutput;"
        f"output = LogOutput(Path({str(log)!r}), max_bytes={max_bytes}, kept={kept});"
        "logging.configure('INFO', service='scp', replica='r1', output=output);"
        f"[structlog.get_logger().info('store.accepted', n=n) for n in {numbers!r}];"
        f"{limit} or sys.stderr.write('last words\\n');"
        "sys.exit(min(100, logging.lines_lost()))"
    )

    def limited():
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=file,
            stderr=file,
            preexec_fn=limited,  # noqa: PLW1509 - no threads here
        )


def test_processes_rotate_the_file_they_share_and_lose_no_line(tmp_path):
    log = tmp_path / "scp.log"
    parts = [range(first, 6000, 3) for first in range(3)]
    writers = [log_file_writer(log, part, max_bytes=20_000, kept=100) for part in parts]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    files = [path for path in tmp_path.glob("scp.log*") if path.suffix != ".lock"]
    assert len(files) > 20
    assert all(path.stat().st_size < 21_000 for path in files)
    lines = "".join(path.read_text() for path in files).splitlines()
    told = [json.loads(line)["n"] for line in lines if line != "last words"]
    assert sorted(told) == list(range(6000))
    assert len(lines) == len(told) + 3, "standard error goes where the log goes"


def test_a_log_keeps_within_its_bounds(tmp_path):
    log = tmp_path / "scp.log"
    assert log_file_writer(log, range(3000), max_bytes=20_000, kept=2).wait(60) == 0
    files = sorted(path.name for path in tmp_path.glob("scp.log*"))
    assert files == ["scp.log", "scp.log.1", "scp.log.2", "scp.log.lock"]
    last = [*(log.with_name("scp.log.1")).read_text().splitlines(), *log.read_text().splitlines()]
    assert json.loads(last[-2])["n"] == 2999


def test_what_the_disk_does_not_take_is_counted_and_nothing_fails(tmp_path):
    log = tmp_path / "scp.log"
    lost = log_file_writer(log, range(30), max_bytes=10**6, kept=1, limit=1000).wait(60)
    *whole, begun = log.read_text().split("\n")
    assert [json.loads(line)["n"] for line in whole] == list(range(len(whole)))
    assert lost == 30 - len(whole)
    assert begun, "a line that the disk has taken a part of is lost too"
