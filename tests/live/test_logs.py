"""A session's log: one line a record, with time, level, series and frame."""

import logging
import re

import pytest

from deepfreak.errors import OutputError
from deepfreak.live.logs import LOG_FILE, PipeHandler, about, handle, session_log

log = logging.getLogger("deepfreak.live.test")


def lines(folder):
    return (folder / LOG_FILE).read_text().splitlines()


def test_a_line_says_when_how_grave_and_of_which_frame(tmp_path):
    with session_log(tmp_path):
        log.info("began")
        log.warning("lost %d", 3, extra=about("run 7", 12))
        log.debug("not asked for")
    first, second = lines(tmp_path)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO test_logs: began", first)
    assert second.endswith("WARNING test_logs series=run 7 frame=12: lost 3")


def test_a_hostile_name_begins_no_line(tmp_path):
    with session_log(tmp_path):
        log.warning("a\nb\x1b[2J", extra=about("s\r\nERROR"))
    (line,) = lines(tmp_path)
    assert line.isprintable()


def test_a_traceback_stands_below(tmp_path):
    with session_log(tmp_path):
        log.info("unexpected", exc_info=ZeroDivisionError())
    assert "ZeroDivisionError" in lines(tmp_path)[-1]


def test_warnings_are_shown_and_all_of_it_if_that_is_asked_for(tmp_path):
    shown = []
    with session_log(tmp_path, shown.append):
        log.info("began")
        log.warning("lost")
    assert shown == ["lost"]
    above = logging.getLogger("deepfreak")
    before = above.level
    above.setLevel(logging.DEBUG)
    with session_log(tmp_path, shown.append):
        log.debug("a frame")
    above.setLevel(before)
    assert shown == ["lost", "a frame"]


def test_a_second_session_adds_to_the_log(tmp_path):
    for text in ("one", "two"):
        with session_log(tmp_path):
            log.info(text)
    log.error("behind both")
    assert [line.split(": ")[-1] for line in lines(tmp_path)] == ["one", "two"]


def test_a_record_of_a_worker_travels_as_text(tmp_path):
    sent = []
    worker = logging.Logger("deepfreak.live.decide", logging.INFO)  # noqa: LOG001 - of another process
    worker.addHandler(PipeHandler(sent.append))
    worker.info("of %s", object, extra=about("s", 1))
    with session_log(tmp_path):
        handle(sent[0])
    assert "series=s frame=1: of <class" in lines(tmp_path)[0]
    assert sent[0].args is None


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="cannot write"), session_log(tmp_path / "none"):
        pass
