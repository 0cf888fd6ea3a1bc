from django.http import HttpResponse
from django.urls import path

app_name = "certification"
def x(*a, **k): return HttpResponse()
urlpatterns = [path("verify/", x, name="verify"), path("v/<str:number>/", x, name="verify_number"), path("c/<str:number>/", x, name="certificate"),
 path("standards/<slug:code>/<str:version>/<str:level>/", x, name="standard"), path("issuer.json", x, name="issuer"), path("status/<uuid:token>", x, name="status_list")]
