from django.urls import path

from drills.views import live, planning, review

app_name = "drills"
urlpatterns = [
    path("", planning.home, name="home"),
    path("plan/", planning.plan, name="plan"),
    path("<int:pk>/", planning.lobby, name="lobby"),
    path("<int:pk>/invite/", planning.invite, name="invite"),
    path("<int:pk>/seats/<int:seat_pk>/remove/", planning.remove, name="remove"),
    path("<int:pk>/take/", planning.take, name="take"),
    path("<int:pk>/leave/", planning.leave, name="leave"),
    path("<int:pk>/launch/", planning.launch, name="launch"),
    path("<int:pk>/start/", planning.start, name="start"),
    path("<int:pk>/cancel/", planning.cancel, name="cancel"),
    path("<int:pk>/room/", live.room, name="room"),
    path("<int:pk>/feed/", live.feed, name="feed"),
    path("<int:pk>/ticket/", live.ticket, name="ticket"),
    path("<int:pk>/act/<slug:verb>/", live.act, name="act"),
    path("<int:pk>/review/", review.review, name="review"),
    path("<int:pk>/review/timeline/", review.timeline, name="timeline"),
    path("<int:pk>/review/moment/", review.moment, name="moment"),
    path("<int:pk>/review/report/", review.report, name="report"),
    path("<int:pk>/review/report.pdf", review.report_pdf, name="report_pdf"),
    path("<int:pk>/review/events.json", review.event_log, name="event_log"),
    path("<int:pk>/review/captures/<str:range_id>/<str:name>", review.capture, name="capture"),
    path("<int:pk>/review/recordings/<int:recording_pk>/", review.recording, name="recording"),
    path("<int:pk>/findings/", review.add_finding, name="add_finding"),
    path("<int:pk>/findings/<int:finding_pk>/done/", review.finish_finding, name="finish_finding"),
    path("<int:pk>/findings/<int:finding_pk>/close/", review.close_finding, name="close_finding"),
    path("<int:pk>/lessons/", review.lessons, name="lessons"),
    path("<int:pk>/close/", review.close, name="close"),
]
