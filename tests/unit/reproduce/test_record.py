import json

import pytest

from deepfreak.errors import OutputError
from deepfreak.reproduce.record import Record, Table, write_record

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
    with pytest.raises(OutputError, match="cannot make the folder"):
        write_record(RECORD, tmp_path / "records")
