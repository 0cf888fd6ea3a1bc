"""Under /learn/. What is not found here falls through to Wagtail's pages of the catalogue, which has the same address."""

from django.urls import path

from courses.views import exams, learner, media, reading, teaching

app_name = "courses"
urlpatterns = [
    path("", learner.home, name="home"),
    path("catalogue/", learner.catalogue, name="catalogue"),
    path("courses/<int:pk>/join/", learner.join, name="join"),
    path("courses/<int:pk>/leave/", learner.leave, name="leave"),
    path("lessons/<int:pk>/answer/<str:block>/", reading.answer, name="answer"),
    path("lessons/<int:pk>/complete/", reading.complete, name="complete"),
    path("lessons/<int:pk>/position/", reading.position, name="position"),
    path("exams/", exams.exam_list, name="exams"),
    path("exams/papers/<int:pk>/", exams.lobby, name="exam_lobby"),
    path("exams/papers/<int:pk>/start/", exams.start, name="exam_start"),
    path("exams/<uuid:public_id>/", exams.sitting, name="exam"),
    path("exams/<uuid:public_id>/save/", exams.save, name="exam_save"),
    path("exams/<uuid:public_id>/flag/", exams.mark, name="exam_flag"),
    path("exams/<uuid:public_id>/page/", exams.save_all, name="exam_save_all"),
    path("exams/<uuid:public_id>/hand-in/", exams.hand_in, name="exam_hand_in"),
    path("exams/<uuid:public_id>/result/", exams.result, name="exam_result"),
    path("teaching/", teaching.desk, name="teaching"),
    path("teaching/banks/<int:pk>/", teaching.bank, name="bank"),
    path("teaching/questions/<int:pk>/", teaching.question, name="question"),
    path("teaching/papers/<int:pk>/", teaching.paper, name="paper"),
    path("media/figures/<str:digest>.svg", media.figure, name="figure"),
    path("media/photos/<int:pk>/", media.photo, name="photo"),
    path("media/videos/<int:pk>/", media.video, name="video"),
]
