"""The dictionary says what pydicom says, and no service loads pydicom to ask it."""

import subprocess
import sys

import pytest
from pydicom import datadict
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._private_dict import private_dictionaries
from pydicom.uid import UID, UID_dictionary
from pynetdicom import AllStoragePresentationContexts

from draw_shared.dicom.encoding import dictionary, uids

NOT_LISTED = (0x00080003, 0x00091001, 0x00090010, 0x50000000, 0x60013000, 0x61013000, 0x7FE10010)


def test_every_attribute_has_the_vr_multiplicity_name_and_keyword_of_pydicom():
    for tag in DicomDictionary:
        assert dictionary.entry_of(tag) == datadict.get_entry(tag)
        assert dictionary.lists(tag)
        keyword = datadict.dictionary_keyword(tag)
        assert dictionary.tag_of(keyword) == datadict.tag_for_keyword(keyword)
        assert dictionary.entry_named(keyword) == datadict.get_entry(dictionary.tag_of(keyword))
    assert dictionary.tag_of("NoSuchKeyword") is None
    with pytest.raises(KeyError):
        dictionary.entry_named("NoSuchKeyword")


def test_attributes_of_repeating_groups_are_found_and_not_listed_by_themselves():
    for pattern, entry in RepeatersDictionary.items():
        for digit in "028E":
            tag = int(pattern.replace("x", digit), 16)
            if tag in DicomDictionary or datadict.get_entry(tag) != entry:
                continue
            assert dictionary.entry_of(tag) == entry
            assert not dictionary.lists(tag)


@pytest.mark.parametrize("tag", NOT_LISTED)
def test_what_is_not_listed_or_private_is_not_found(tag):
    with pytest.raises(KeyError):
        datadict.get_entry(tag)
    with pytest.raises(KeyError):
        dictionary.vr_of(tag)


def test_private_attributes_have_the_vr_of_their_creator_in_any_block():
    for creator, patterns in private_dictionaries.items():
        for pattern in patterns:
            tag = int(pattern.replace("x", "1"), 16)
            try:
                expected = datadict.private_dictionary_VR(tag, creator)
            except KeyError:
                continue
            assert dictionary.private_vr_of(tag, creator) == expected
    with pytest.raises(KeyError):
        dictionary.private_vr_of(0x00091001, "NOBODY")
    with pytest.raises(KeyError):
        dictionary.private_vr_of(0x0009FFFF, "GEMS_IDEN_01")


def test_registered_uids_are_those_of_pydicom_and_pynetdicom():
    assert dictionary.registered_uids() == UID_dictionary
    assert dictionary.registered_uids()[uids.EXPLICIT_BIG].retired
    assert UID(uids.EXPLICIT_BIG).is_retired


def test_every_storage_class_that_pynetdicom_knows_is_one():
    known = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    assert known <= uids.ALL_STORAGE


@pytest.mark.parametrize(
    "module", ["draw_scp.app", "draw_qr_worker.app", "draw_indexer.adapters.reader_process"]
)
def test_services_begin_without_pydicom_numpy_and_alembic(module):
    code = f"import sys, {module}; print({{'pydicom', 'numpy', 'alembic'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
