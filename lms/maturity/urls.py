from django.urls import path

from lms.maturity import views

app_name = "maturity"
urlpatterns = [
    path("", views.home, name="home"),
    path("start/", views.start, name="start"),
    path("question/<int:number>/", views.question, name="question"),
    path("check/", views.check, name="check"),
    path("result/<int:pk>/", views.result, name="result"),
    path("plan/", views.plan, name="plan"),
    path("plan/<int:pk>/", views.plan_row, name="plan_row"),
]
