from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deepfreak.live.seen import Seen

NUMBERS = st.lists(st.integers(0, 40), max_size=60)


@given(NUMBERS)
def test_it_is_a_set(numbers):
    seen, plain = Seen(), set()
    for number in numbers:
        assert seen.add(number) == (number not in plain)
        plain.add(number)
        assert seen.count == len(plain)
    assert [number in seen for number in range(42)] == [number in plain for number in range(42)]
    assert seen.end == max(plain, default=-1) + 1


@given(NUMBERS, st.one_of(st.none(), st.integers(0, 50)))
def test_what_is_missing_and_what_came_make_up_all(numbers, expected):
    seen = Seen(numbers)
    gaps = list(seen.missing(expected))
    missing = {number for first, last in gaps for number in range(first, last + 1)}
    end = max(expected or 0, max(numbers, default=-1) + 1)
    assert missing == set(range(end)) - set(numbers)
    assert seen.missing_count(expected) == len(missing)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(gaps))


@given(NUMBERS)
def test_intervals_make_the_same_set(numbers):
    seen = Seen(numbers)
    present = sorted(set(numbers))
    again = Seen.of_intervals((number, number) for number in present)
    assert [number in again for number in range(42)] == [number in seen for number in range(42)]
    assert again.count == seen.count


def test_numbers_in_order_are_one_interval():
    seen = Seen(range(100_000))
    assert len(seen._firsts) == 1
    assert seen.whole_until == 100_000
    assert Seen([1, 2]).whole_until == 0
