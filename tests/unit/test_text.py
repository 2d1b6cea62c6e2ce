import os

import pytest

from deepfreak.text import printable, spelled, unspelled

NAMES = [
    b"a.cbf",
    "\u00b5 \u65e5\u672c.cbf".encode(),
    b"b\xff\xfe.img",
    b"a\\b.img",
    b"a\x1b[2J\n.img",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_spelled_name_is_one_printable_line_from_which_the_file_is_found_again(name):
    text = spelled(os.fsdecode(name))
    assert text.isprintable()
    assert text.encode("utf-8")
    assert os.fsencode(unspelled(text)) == name


def test_names_that_need_no_spelling_stay():
    assert spelled("run 1/\u00b5.cbf") == printable("run 1/\u00b5.cbf") == "run 1/\u00b5.cbf"
