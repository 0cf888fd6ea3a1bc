"""Every write of courses is a verb here; screens, commands, tasks, tests and other apps call the same ones.

For certification (reads only): `course_completed`, `hours_earned`, `best_exam`, and `ExamSession.evidence()`.
"""

from courses.services.desk import align_groups, item_statistics, prepare_teaching
from courses.services.exams import (
    Saved,
    best_exam,
    close_overdue,
    exam_ways,
    flag,
    may_open,
    open_exam,
    presented,
    regrade,
    right_answers,
    save_answer,
    submit_exam,
)
from courses.services.figures import keep_figure
from courses.services.learning import (
    Feedback,
    answer_inline,
    complete_lesson,
    course_completed,
    course_progress,
    enrol,
    feedback_on,
    hours_earned,
    inline_seed,
    lessons_of,
    right_answer,
    save_position,
    see_lesson,
    staff_learning,
    standing,
    withdraw,
)
from courses.services.packages import Imported, import_course
from courses.services.questions import revise_question

__all__ = [
    "Feedback",
    "Imported",
    "Saved",
    "align_groups",
    "answer_inline",
    "best_exam",
    "close_overdue",
    "complete_lesson",
    "course_completed",
    "course_progress",
    "enrol",
    "exam_ways",
    "feedback_on",
    "flag",
    "hours_earned",
    "import_course",
    "inline_seed",
    "item_statistics",
    "keep_figure",
    "lessons_of",
    "may_open",
    "open_exam",
    "prepare_teaching",
    "presented",
    "regrade",
    "revise_question",
    "right_answer",
    "right_answers",
    "save_answer",
    "save_position",
    "see_lesson",
    "staff_learning",
    "standing",
    "submit_exam",
    "withdraw",
]
