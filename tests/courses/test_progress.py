"""Where to go on, what is left, what was earned."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from courses.domain.progress import Lesson, Progress, hours_earned, progress, resume, unanswered


def at(hour: int) -> datetime:
    return datetime(2026, 11, 23, hour, tzinfo=UTC)


def test_resume_goes_on_after_what_was_opened_last():
    done, open_, fresh = Lesson(1, 45, True, at(8)), Lesson(2, 45, False, at(9)), Lesson(3, 45)

    assert resume([done, open_, fresh]) == 2
    assert resume([Lesson(1, 45, True, at(9)), fresh]) == 3
    assert resume([Lesson(1, 45), Lesson(2, 45, True, at(9))]) == 1
    assert resume([done]) == 1
    assert resume([]) is None


def test_progress_tells_what_is_left():
    found = progress([Lesson(1, 45, True, at(8)), Lesson(2, 30), Lesson(3, 15)])

    assert found == Progress(done=1, total=3, minutes_left=45, resume=2)
    assert (found.percent, found.complete) == (33, False)
    assert progress([]).complete is False


lessons = st.lists(st.builds(Lesson, st.integers(1, 10**6), st.integers(1, 90), st.booleans()), min_size=1, max_size=12)


@given(lessons, st.decimals("0.5", "80", places=1))
def test_hours_never_exceed_the_course_and_reach_it_on_completion(rows, hours):
    earned = hours_earned(hours, rows)

    assert Decimal(0) <= earned <= hours
    if all(row.done for row in rows):
        assert earned == hours
    if not any(row.done for row in rows):
        assert earned == 0


def test_unanswered_keeps_the_page_order():
    assert unanswered(["c", "a", "b"], {"a"}) == ["c", "b"]
