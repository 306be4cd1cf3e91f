"""What counts as an AE title and as a UID."""

import pytest
from pydantic import TypeAdapter, ValidationError

from draw_shared.contracts.identifiers import AeTitle, OwnAeTitle, Uid

ae_title = TypeAdapter(AeTitle)
own_ae_title = TypeAdapter(OwnAeTitle)
uid = TypeAdapter(Uid)


def test_padding_of_an_ae_title_is_not_significant():
    assert ae_title.validate_python(" CT 1 ") == "CT 1"


@pytest.mark.parametrize("bad", ["", "   ", "A" * 17, "A\\B", "A\nB", "ÄRZTE"])
def test_bad_ae_titles_are_refused(bad):
    with pytest.raises(ValidationError):
        ae_title.validate_python(bad)


def test_our_own_title_is_upper_case():
    assert own_ae_title.validate_python("DRAW_SCP") == "DRAW_SCP"
    with pytest.raises(ValidationError, match="upper case"):
        own_ae_title.validate_python("draw_scp")


@pytest.mark.parametrize("bad", ["", "1.2.", ".1", "1..2", "1.2/../3", "1.2a", "1" * 65, "1.2\n"])
def test_bad_uids_are_refused(bad):
    with pytest.raises(ValidationError):
        uid.validate_python(bad)
