from django.urls import path

from lms.accounts import views

app_name = "accounts"
urlpatterns = [
    path("dossier/", views.dossier, name="dossier"),
    path("staff/", views.staff, name="staff"),
    path("staff/invite/", views.invite, name="invite"),
    path("staff/import/", views.staff_import, name="staff_import"),
    path("staff/xlsx/", views.staff_xlsx, name="staff_xlsx"),
    path("staff/<int:pk>/", views.person, name="person"),
    path("staff/<int:pk>/code/", views.new_code, name="new_code"),
    path("staff/<int:pk>/release/", views.release, name="release"),
    path("join/", views.join, name="join"),
    path("me/", views.me, name="me"),
    path("organisation/", views.choose_organisation, name="choose_organisation"),
    path("me/data/", views.my_data, name="my_data"),
    path("me/consent/", views.agree, name="agree"),
    path("me/consent/<int:pk>/withdraw/", views.withdraw, name="withdraw"),
]
