"""The example of the README of the network room does what it says."""

import re
from pathlib import Path

from draw_shared.dicom import network


def test_the_example_stores_one_object(capsys):
    page = Path(network.__file__).with_name("README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(example, names)  # noqa: S102 - our own page
    assert names["receiver"].objects == [b"\x10\x00\x20\x00LO\x02\x0042"]
    said = capsys.readouterr().out
    assert said == "SENDER has associated\n1.2.3 0x0000\nSENDER released\n"
