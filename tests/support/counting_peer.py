"""A store SCP that counts what it is sent, and fails on demand; it can go away and come back."""

import ssl
import threading
import time
from collections import Counter

from pynetdicom import AE, AllStoragePresentationContexts, evt

from tools.processes import free_port

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
CANNOT_UNDERSTAND = 0xC000


class CountingPeer:
    """Counts C-STORE requests by SOP instance while it listens on one port.

    Args:
        syntaxes: transfer syntaxes that it takes; default: the usual ones of pynetdicom.
        certificate: what it shows, speaking TLS; default: it speaks without.
    """

    def __init__(self, ae_title="COUNTER", syntaxes=None, certificate=None):
        self.ae_title = ae_title
        self.port = free_port()
        self.answered = Counter()
        """By SOP Instance UID, how often it was taken with success or a warning."""
        self.first_at = {}
        """By Series Instance UID, when its first object came."""
        self.order = []
        """Series Instance UIDs in the order of their first object."""
        self.syntaxes_seen = set()
        """Transfer syntaxes in which objects came."""
        self.status = SUCCESS
        self.refuses = set()
        """SOP Instance UIDs of what it does not take."""
        self.associations = 0
        self.pause_seconds = 0.0
        self._answers = threading.Event()
        self._answers.set()
        self._syntaxes = syntaxes
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate.certificate, certificate.key)
        self._lock = threading.Lock()
        self._server = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.answer_again()
        self.stop()

    def start(self):
        """Listen."""
        ae = AE(ae_title=self.ae_title)
        ae.maximum_associations = 50
        for context in AllStoragePresentationContexts:
            syntaxes = self._syntaxes or context.transfer_syntax
            ae.add_supported_context(context.abstract_syntax, syntaxes)
        ae.add_supported_context("1.2.840.10008.1.1")
        handlers = [(evt.EVT_C_STORE, self._on_store), (evt.EVT_ACCEPTED, self._on_accepted)]
        self._server = ae.start_server(
            ("127.0.0.1", self.port),
            block=False,
            evt_handlers=handlers,
            ssl_context=self._tls,
        )

    def stop(self):
        """Break what is open and listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def fall_silent(self):
        """Accept associations and objects, and never answer."""
        self._answers.clear()

    def answer_again(self):
        """Answer what comes from now on, and what waits."""
        self._answers.set()

    @property
    def twice(self):
        """SOP instances that were taken more than once."""
        return [uid for uid, number in self.answered.items() if number > 1]

    def _on_accepted(self, _event):
        self.associations += 1

    def _on_store(self, event):
        now = time.time()
        time.sleep(self.pause_seconds)
        self._answers.wait()
        data_set = event.dataset
        if str(data_set.SOPInstanceUID) in self.refuses:
            return CANNOT_UNDERSTAND
        with self._lock:
            self.syntaxes_seen.add(event.context.transfer_syntax)
            series = str(data_set.SeriesInstanceUID)
            if series not in self.first_at:
                self.first_at[series] = now
                self.order.append(series)
            if self.status == SUCCESS or self.status & 0xF000 == 0xB000:
                self.answered[str(data_set.SOPInstanceUID)] += 1
        return self.status
