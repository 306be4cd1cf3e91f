"""The shape of log lines."""

import json
import logging as standard
import os
import subprocess
import sys

import pytest
import structlog

from draw_shared.runtime import logging


@pytest.fixture
def lines(capsys):
    logging.configure("INFO", service="scp", replica="r1")
    yield lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]
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
