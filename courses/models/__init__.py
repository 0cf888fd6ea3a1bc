"""What is taught (pages), asked (questions), learned (learning) and examined (exams)."""

from courses.models.exams import ExamAnswer, ExamSession, Paper, PaperCell
from courses.models.facets import Facet
from courses.models.figures import Figure
from courses.models.learning import Enrolment, InlineAnswer, LessonProgress
from courses.models.pages import CatalogueIndexPage, CoursePage, LessonPage
from courses.models.questions import Question, QuestionBank, QuestionVersion

__all__ = [
    "CatalogueIndexPage",
    "CoursePage",
    "Enrolment",
    "ExamAnswer",
    "ExamSession",
    "Facet",
    "Figure",
    "InlineAnswer",
    "LessonPage",
    "LessonProgress",
    "Paper",
    "PaperCell",
    "Question",
    "QuestionBank",
    "QuestionVersion",
]
