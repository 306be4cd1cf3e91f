"""How PostgreSQL performs the receiver's own statements."""

from collections.abc import Iterator, Mapping, Sequence

import psycopg
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from draw_shared.db.catalogue_sql import find_statement
from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, STUDY_ROOT_FIND
from draw_shared.dicom.network.service import PresentationContext, QueryRequest
from draw_shared.dicom.query.query import parse_find


def plans(url: str, queries: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield, as Markdown, the plan of each study-level query given as `Keyword=value` words."""
    with psycopg.connect(url, prepare_threshold=None) as connection:
        connection.execute("SET jit = off")
        for name, words in queries.items():
            statement, values = find_statement(parse_find(_request(words), b""))
            explain = b"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) " + statement
            lines = [str(row[0]) for row in connection.execute(explain, values)]
            yield "\n".join((f"### {name}\n", "```text", *lines, "```\n"))


def _request(words: Sequence[str]) -> QueryRequest:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    for word in words:
        keyword, _, value = word.partition("=")
        setattr(identifier, keyword, value)
    encoded = encode(identifier, is_implicit_vr=True, is_little_endian=True)
    if encoded is None:
        raise ValueError("the keys cannot be encoded")
    context = PresentationContext(1, STUDY_ROOT_FIND, IMPLICIT_LITTLE)
    return QueryRequest(1, STUDY_ROOT_FIND, context, encoded)
