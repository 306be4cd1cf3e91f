"""The log of a server is set aside while the server writes to it."""

from tools.server_log import set_aside


def test_a_log_that_has_grown_is_set_aside_and_its_writer_goes_on(tmp_path):
    log = tmp_path / "postgres.log"
    set_aside(log)
    with log.open("ab", buffering=0) as writer:
        writer.write(b"early\n")
        set_aside(log, max_bytes=100)
        assert log.read_bytes() == b"early\n"
        writer.write(b"x" * 100)
        set_aside(log, max_bytes=100)
        writer.write(b"late\n")
    assert log.read_bytes() == b"late\n"
    assert (tmp_path / "postgres.log.1").read_bytes() == b"early\n" + b"x" * 100
