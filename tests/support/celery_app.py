"""A real Celery application whose only task writes down what it was started with."""

import json
import os
from pathlib import Path

from celery import Celery

from support.celery_worker import BROKER, OUTPUT, TASK

app = Celery("chain", broker=os.environ[BROKER])
app.conf.broker_connection_retry_on_startup = True


@app.task(name=TASK, bind=True)
def start(self, **arguments):
    """Append the task's id and arguments to the output file."""
    with Path(os.environ[OUTPUT]).open("a", encoding="utf-8") as output:
        output.write(json.dumps({"id": self.request.id, **arguments}) + "\n")
