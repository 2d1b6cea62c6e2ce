import json
from dataclasses import replace

import numpy as np
import pytest

from deepfreak.errors import OutputError
from paper.record import Record, Table, write_record

RECORD = Record(
    name="toy",
    title="A toy",
    command="deepfreak toy --of <a | b>",
    summary=("Reduced scale: two images.",),
    tables=(
        Table(
            title="Table 1: <all>",
            columns=("class", "count"),
            rows=(("weak|good", 3), ("strong", 4)),
            remarks=("Counted twice.",),
        ),
    ),
    facts={"seed": 0},
)


def test_a_record_is_markdown_json_and_a_page_under_its_date(tmp_path):
    place = write_record(RECORD, tmp_path / "records", day="2026-01-02")
    assert place == tmp_path / "records" / "2026-01-02-toy"
    found = json.loads((place / "record.json").read_text())
    assert found["made_by"]["command"] == RECORD.command
    assert found["made_by"]["versions"]["deepfreak"]
    assert found["tables"][0]["rows"] == [["weak|good", 3], ["strong", 4]]
    text = (place / "README.md").read_text()
    assert text.splitlines()[2] == "Reduced scale: two images."
    assert "| weak\\|good | 3 |" in text
    assert "Counted twice." in text
    page = (place / "record.html").read_text()
    assert "Table 1: &lt;all&gt;" in page
    assert "deepfreak toy --of &lt;a | b&gt;" in page


def test_a_record_made_again_replaces_that_of_the_day(tmp_path):
    for _ in range(2):
        place = write_record(RECORD, tmp_path, day="2026-01-02")
    assert sorted(path.name for path in place.iterdir()) == [
        "README.md", "record.html", "record.json",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "records").write_text("a file")
    with pytest.raises(OutputError, match="cannot make the directory"):
        write_record(RECORD, tmp_path / "records")


def test_verdicts_and_data_set_are_kept(tmp_path):
    verdicts = {"class": np.array([0, 4, 2]), "a forest, seed 0": np.array([0, 3, 2])}
    data_set = {"name": None, "sha256": {"images": "ab12"}}
    place = write_record(replace(RECORD, verdicts=verdicts, data_set=data_set), tmp_path)
    assert (place / "verdicts.csv").read_text() == (
        'image,class,"a forest, seed 0"\n0,0,0\n1,4,3\n2,2,2\n'
    )
    assert json.loads((place / "record.json").read_text())["data_set"] == data_set
    assert "| sha256 of its images | ab12 |" in (place / "README.md").read_text()
