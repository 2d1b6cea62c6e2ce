import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deepfreak.live.receive.frame_accounting import MAX_GAP_PER_FRAME, NumberSet

NUMBERS = st.lists(st.integers(0, 40), max_size=60)


@given(NUMBERS)
def test_it_is_a_set(numbers):
    seen, plain = NumberSet(), set()
    for number in numbers:
        assert seen.add(number) == (number not in plain)
        plain.add(number)
        assert seen.count == len(plain)
    assert [number in seen for number in range(42)] == [number in plain for number in range(42)]
    assert seen.end == max(plain, default=-1) + 1


@given(NUMBERS, st.one_of(st.none(), st.integers(0, 50)))
def test_what_is_missing_and_what_came_make_up_all(numbers, expected):
    seen = NumberSet(numbers)
    gaps = list(seen.missing(expected))
    missing = {number for first, last in gaps for number in range(first, last + 1)}
    end = max(expected or 0, max(numbers, default=-1) + 1)
    assert missing == set(range(end)) - set(numbers)
    assert seen.missing_count(expected) == len(missing)
    assert all(last + 1 < first for (_, last), (first, _) in pairwise(gaps))


@given(NUMBERS)
def test_intervals_make_the_same_set(numbers):
    seen = NumberSet(numbers)
    present = sorted(set(numbers))
    again = NumberSet.of_intervals((number, number) for number in present)
    assert [number in again for number in range(42)] == [number in seen for number in range(42)]
    assert again.count == seen.count


def test_numbers_in_order_are_one_interval():
    seen = NumberSet(range(100_000))
    assert len(seen._firsts) == 1
    assert seen.contiguous == 100_000
    assert NumberSet([1, 2]).contiguous == 0


def slow_reach(numbers, expected):
    """The numbers that are no strays, by the words of `NumberSet.strays`."""
    for place, number in enumerate(numbers):
        before = numbers[place - 1] if place else -1
        gap, beyond = number - before - 1, len(numbers) - place
        if number >= expected and gap > MAX_GAP_PER_FRAME * beyond:
            return numbers[:place]
    return numbers


@given(
    st.sets(st.integers(0, 30) | st.integers(0, 60_000) | st.integers(0, 10**9), max_size=40),
    st.integers(0, 20_000),
)
def test_strays_are_those_of_the_plain_rule(numbers, expected):
    seen, ordered = NumberSet(numbers), sorted(numbers)
    near = slow_reach(ordered, expected)
    end = max(expected, near[-1] + 1 if near else 0)
    strays = [n for first, last in seen.strays(expected) for n in range(first, last + 1)]
    assert strays == ordered[len(near) :]
    assert seen.missing_count(expected) == end - len(near)
    assert sum(last + 1 - first for first, last in seen.missing(expected)) == end - len(near)
    assert seen.reach == max(slow_reach(ordered, 0), default=-1) + 1


def test_one_wild_number_makes_no_gap_and_the_frames_behind_a_long_pause_do():
    seen = NumberSet([0, 1, 2, 999_999_999])
    assert seen.missing_count() == 0
    assert list(seen.strays()) == [(999_999_999, 999_999_999)]
    assert seen.missing_count(10) == 7
    for number in range(60_000, 60_060):
        seen.add(number)
    assert seen.missing_count() == 60_000 - 3
    assert NumberSet([5000]).missing_count(10_000) == 9_999  # announced
    assert 999_999_999 in seen


def test_a_copy_grows_on_its_own():
    seen = NumberSet([0, 1, 5])
    same = seen.copy()
    same.add(2)
    assert (seen.count, same.count) == (3, 4)
    assert 2 not in seen


def test_wild_numbers_among_many_cost_no_time():
    seen, begin = NumberSet([10**9, 10**8]), time.process_time()
    for number in range(0, 60_000, 2):  # the worst: no two are neighbours
        seen.add(number)
        seen.missing_count()
    assert time.process_time() - begin < 20
