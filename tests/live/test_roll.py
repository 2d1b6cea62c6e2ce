from hypothesis import given
from hypothesis import strategies as st

from deepfreak.live.messages import SeriesBegan
from deepfreak.live.receive.frame_accounting import Line, Roll
from deepfreak.live.receive.number_set import Seen

SERIES = st.sampled_from("abc")
EXPECTED = st.none() | st.integers(0, 12)
STEPS = st.lists(
    st.tuples(st.just("add"), SERIES, st.integers(0, 15))
    | st.tuples(st.sampled_from(["begin", "end"]), SERIES, EXPECTED),
    max_size=60,
)


@given(STEPS)
def test_the_totals_are_those_of_all_series(steps):
    roll, came, expected, ended = Roll(), {}, {}, set()
    for what, series, value in steps:
        if what == "begin":
            roll.begin(SeriesBegan(series=series, kind="shot", expected=value))
            came.setdefault(series, set())
            ended.discard(series)
        elif what == "end":
            roll.end(series, value)
            ended |= {series} & came.keys()
        elif series in roll:
            assert roll.has(series, value) == (value in came[series])
            assert roll.add(series, value) == (value not in came[series])
            came[series].add(value)
        if what != "add" and series in came and value is not None:
            expected[series] = value
        assert roll.received == sum(map(len, came.values()))
        missed = 0
        for name, numbers in came.items():
            due = expected.get(name, 0) if name in ended else 0
            missed += max(due, max(numbers, default=-1) + 1) - len(numbers)
        assert roll.missed == missed


def test_what_an_earlier_run_had_is_counted():
    roll = Roll()
    roll.take_up(Line(series="a", kind="file", expected=5, ended=True, seen=Seen([0, 2])))
    assert (roll.received, roll.missed) == (2, 3)
    assert roll.kind("a") == "file"
    assert "b" not in roll
    (account,) = [
        Line(series="a", kind="file", expected=5, ended=True, seen=Seen([0, 2])).account()
    ]
    assert account.missed == ((1, 1), (3, 4))
    assert account.missed_count == 3
