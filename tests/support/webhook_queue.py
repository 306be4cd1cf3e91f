"""A table of deliveries that is away at times, and receivers that answer at once."""

from draw_indexer.models import WebhookAnswer
from draw_shared.db.session import DatabaseUnavailable


class FlakyQueue:
    """Holds deliveries of one webhook; refuses to note as often as told."""

    def __init__(self, deliveries, refusals):
        self.waiting = list(deliveries)
        self.refusals = refusals
        self.noted = []

    def fan_out(self):
        return 0

    def claim(self, room, usual_room):
        most = room.get(self.waiting[0].webhook_id, usual_room) if self.waiting else 0
        found, self.waiting = self.waiting[:most], self.waiting[most:]
        return found

    def note(self, results):
        if self.refusals:
            self.refusals -= 1
            raise DatabaseUnavailable("away")
        self.noted.extend(results)
        return []


class PromptSender:
    """Counts what is sent and answers with one status."""

    def __init__(self, status=204):
        self.status = status
        self.sent = []

    def post(self, url, body, headers, answered):
        self.sent.append((url, body, headers))
        answered(WebhookAnswer(self.status))
