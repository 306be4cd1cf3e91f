"""Cells of CSV: none is a formula, whatever a spreadsheet takes for the separator."""

import csv
import io

import pytest

from draw_api.handlers.csv_cells import FORMULA_BEGINNINGS, csv_of
from draw_api.services.retrieve_lists import list_of_csv

HOSTILE = [
    "=1+1",
    "thorax;=HYPERLINK(1)",
    "thorax, +1",
    'thorax;"=1"',
    "thorax\t@SUM(1)",
    "thorax\n-1+1",
    "a|=1;=2,=3",
    "'=1;'=2",
]


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("written", [",", ";", "\t"])
@pytest.mark.parametrize("read", [",", ";", "\t", "|"])
def test_no_cell_is_a_formula(value, written, read):
    text = csv_of([["A", value, "B"]], written)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=read, skipinitialspace=True)
    cells = [cell.strip() for row in rows for cell in row]
    assert not [cell for cell in cells if cell.lstrip('"').startswith(FORMULA_BEGINNINGS)]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "value",
    ["=42", "-77", "'=9", "''+1", "A;=1+1", "DOE^J|-x", "A;'=b", "@x", "'x", "O'B", '="1"'],
)
def test_a_list_of_ours_says_the_same_when_it_is_read_back(value, separator):
    (item,) = list_of_csv(csv_of([["PatientID", "Name"], [value, "x"]], separator).encode()).items
    assert item.patient_id == value


@pytest.mark.parametrize("value", ["CT\\MR", "SMITH^JOHN", "a-b", "1,5", "Thorax; native"])
def test_other_values_stay(value):
    assert next(csv.reader([csv_of([[value]]).strip()])) == [value]
