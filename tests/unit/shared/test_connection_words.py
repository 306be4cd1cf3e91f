"""Why a connection failed is said in words that have a translation."""

import errno
import socket

import pytest

from draw_api.handlers.web import languages
from draw_shared.connection_words import CONNECTIONS, NAMES, why_not_connected


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "the name is not known"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "the name server does not answer"),
        (socket.gaierror(-9999, "Unheard of"), "the name cannot be looked up"),
        (OSError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (TimeoutError(), "no answer"),
        (OSError(errno.ETIMEDOUT, "Connection timed out"), "no answer"),
        (OSError(), "no answer"),
    ],
)
def test_known_failures_have_our_words(error, words):
    assert why_not_connected(error) == words


def test_each_is_said_in_german_also_within_the_error_of_a_job():
    before = languages._spoken.set(None)
    languages.speak("de")
    try:
        for words in (*NAMES.values(), *CONNECTIONS.values()):
            whole = languages.said(f"no connection to 192.0.2.1:104: {words}")
            assert words not in whole
            assert languages.said(words) in whole
    finally:
        languages._spoken.reset(before)
