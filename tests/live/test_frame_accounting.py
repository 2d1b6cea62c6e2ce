from hypothesis import given
from hypothesis import strategies as st

from deepfreak.live.messages import SeriesBegan
from deepfreak.live.receive.frame_accounting import FrameAccounting, NumberSet, SeriesState

SERIES = st.sampled_from("abc")
EXPECTED = st.none() | st.integers(0, 12)
STEPS = st.lists(
    st.tuples(st.just("add"), SERIES, st.integers(0, 15))
    | st.tuples(st.sampled_from(["begin", "end"]), SERIES, EXPECTED),
    max_size=60,
)


@given(STEPS)
def test_the_totals_are_those_of_all_series(steps):
    accounting, came, expected, ended = FrameAccounting(), {}, {}, set()
    for what, series, value in steps:
        if what == "begin":
            accounting.begin(SeriesBegan(series=series, kind="shot", expected=value))
            came.setdefault(series, set())
            ended.discard(series)
        elif what == "end":
            accounting.end(series, value)
            ended |= {series} & came.keys()
        elif series in accounting:
            assert (value in accounting.line(series).seen) == (value in came[series])
            assert accounting.add(series, value) == (value not in came[series])
            came[series].add(value)
        if what != "add" and series in came and value is not None:
            expected[series] = value
        assert accounting.received == sum(map(len, came.values()))
        missed = 0
        for name, numbers in came.items():
            due = expected.get(name, 0) if name in ended else 0
            missed += max(due, max(numbers, default=-1) + 1) - len(numbers)
        assert accounting.missed == missed


def test_what_an_earlier_run_had_is_counted():
    accounting = FrameAccounting()
    accounting.restore(
        SeriesState(series="a", kind="file", expected=5, ended=True, seen=NumberSet([0, 2]))
    )
    assert (accounting.received, accounting.missed) == (2, 3)
    assert accounting.line("a").kind == "file"
    assert "b" not in accounting
    (account,) = [
        SeriesState(
            series="a", kind="file", expected=5, ended=True, seen=NumberSet([0, 2])
        ).account()
    ]
    assert account.missed == ((1, 1), (3, 4))
    assert account.missed_count == 3
