from django.urls import include, path

from cyber_range import views

app_name = "cyber_range"
urlpatterns = [
    path("", include("cyber_range.authoring.urls")),
    path("", views.home, name="home"),
    path("scenarios/<slug:scenario_id>/", views.scenario, name="scenario"),
    path("scenarios/<slug:scenario_id>/launch/", views.launch, name="launch"),
    path("instances/<int:pk>/", views.instance, name="instance"),
    path("instances/<int:pk>/slice/", views.slice, name="slice"),
    path("instances/<int:pk>/captures/<str:name>", views.capture, name="capture"),
    path("instances/<int:pk>/<slug:verb>/", views.operate, name="operate"),
]
