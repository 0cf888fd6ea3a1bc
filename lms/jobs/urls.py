from django.urls import path

from lms.jobs.views import job_card, job_list

app_name = "jobs"
urlpatterns = [path("", job_list, name="list"), path("<int:pk>/", job_card, name="card")]
