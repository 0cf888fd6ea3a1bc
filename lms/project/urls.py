"""Every app brings its own urls; the course hub's pages come last."""

from django.urls import include, path
from django.views.generic import RedirectView
from django.views.i18n import JavaScriptCatalog
from wagtail import urls as wagtail_urls
from wagtail.admin import urls as wagtailadmin_urls
from wagtail.documents import urls as wagtaildocs_urls

from lms.project.media import editor_picture
from lms.project.views import home, set_language

urlpatterns = [
    path("", home, name="home"),
    path("language/", set_language, name="set_language"),
    path("jsi18n/", JavaScriptCatalog.as_view(), name="javascript-catalog"),
    path("accounts/", include("allauth.urls")),
    path("people/", include("lms.accounts.urls")),
    path("jobs/", include("lms.jobs.urls")),
    path("maturity/", include("lms.maturity.urls")),
    path("learn/", include("courses.urls")),
    path("range/", include("cyber_range.urls")),
    path("drills/", include("drills.urls")),
    path("certification/", include("certification.urls")),
    path("cms/login/", RedirectView.as_view(pattern_name="account_login", query_string=True)),
    path("cms/", include(wagtailadmin_urls)),
    path("media/<path:name>", editor_picture, name="editor_picture"),
    path("files/", include(wagtaildocs_urls)),
    path("", include(wagtail_urls)),
]
handler400 = "lms.project.views.bad_request"
handler403 = "lms.project.views.no_permission"
handler404 = "lms.project.views.not_found"
handler500 = "lms.project.views.broken"
