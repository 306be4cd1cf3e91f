"""Identifiers of queries and retrieves, written and read with pydicom."""

import warnings
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom.dsutils import decode, encode

from draw_shared.dicom.encoding.uids import IMPLICIT_LITTLE, STUDY_ROOT_FIND
from draw_shared.dicom.network.service import PresentationContext, QueryRequest


def dataset(**elements):
    """Return a data set of elements by keyword."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def encoded(made, syntax=IMPLICIT_LITTLE):
    """Return a data set's bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return encode(made, UID(syntax).is_implicit_VR, UID(syntax).is_little_endian)


def request(level, model=STUDY_ROOT_FIND, syntax=IMPLICIT_LITTLE, **elements):
    """Return a C-FIND, C-GET or C-MOVE request."""
    made = dataset(QueryRetrieveLevel=level, **elements) if level else dataset(**elements)
    return QueryRequest(7, model, PresentationContext(1, model, syntax), encoded(made, syntax))


def decoded(identifier, syntax=IMPLICIT_LITTLE):
    """Return the data set in an identifier, its text decoded."""
    made = decode(BytesIO(identifier), UID(syntax).is_implicit_VR, UID(syntax).is_little_endian)
    made.decode()
    return made
