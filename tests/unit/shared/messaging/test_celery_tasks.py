"""Messages of Celery's task protocol 2, as its documentation says."""

import json
from uuid import UUID

from draw_shared.messaging.celery_tasks import CeleryTask, body, properties

TASK = CeleryTask(UUID(int=7), "chain.start", "chains", {"series_instance_uid": "1.2.3"})


def test_the_body_is_arguments_keyword_arguments_and_what_is_embedded():
    embedded = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert json.loads(body(TASK)) == [[], {"series_instance_uid": "1.2.3"}, embedded]


def test_the_headers_name_task_and_call():
    found = properties(TASK)
    assert (found.content_type, found.content_encoding) == ("application/json", "utf-8")
    assert found.delivery_mode == 2
    assert found.correlation_id == found.headers["id"] == found.headers["root_id"] == str(TASK.id)
    assert (found.headers["lang"], found.headers["task"]) == ("py", "chain.start")
    assert "1.2.3" not in str(found.headers), "arguments are shown in workers' logs"
