"""The demo's course, loaded twice."""

import pytest

from courses import demo
from courses.models import CoursePage, Enrolment, ExamSession, LessonProgress
from lms.accounts import demo as accounts_demo
from lms.accounts.demo import Demo


@pytest.mark.slow
@pytest.mark.django_db
def test_demo_puts_the_learner_in_the_middle_and_again_changes_nothing():
    said: list[str] = []
    shared = Demo(say=said.append)
    accounts_demo.load(shared)

    for _ in range(2):
        demo.load(shared)

    enrolment = Enrolment.objects.get()
    assert (enrolment.user.username, enrolment.state) == ("learner", "active")
    assert CoursePage.objects.live().count() == 1
    assert LessonProgress.objects.filter(done_at__isnull=False).count() == demo.LEARNER_DONE
    assert not ExamSession.objects.exists()
    assert shared.people["trainer"].groups.filter(name="培训师").exists()
    assert shared.people["assessor"].groups.filter(name="审核人").exists()
