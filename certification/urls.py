from django.urls import path

from certification.views import badges, bureau, desk, mine, planning, releases, standards, verify

app_name = "certification"
urlpatterns = [
    # the holder
    path("", mine.mine, name="mine"),
    path("apply/<int:level>/", mine.apply, name="apply"),
    path("applications/<int:pk>/", mine.application, name="application"),
    path("applications/<int:pk>/withdraw/", mine.withdraw, name="withdraw"),
    path("decisions/<int:number>/appeal/", mine.appeal, name="appeal"),
    path("c/<str:number>/", mine.certificate, name="certificate"),
    path("c/<str:number>/certificate.pdf", mine.document, name="document"),
    path("c/<str:number>/certificate.pdf/again/", mine.document_again, name="document_again"),
    path("c/<str:number>/badge.jwt", mine.badge_jwt, name="badge_jwt"),
    path("c/<str:number>/badge.json", mine.badge_json, name="badge_json"),
    # anyone
    path("verify/", verify.verify, name="verify"),
    path("v/<str:number>/", verify.verify_number, name="verify_number"),
    path("standards/<slug:code>/<str:version>/<str:level>/", standards.standard, name="standard"),
    path("issuer.json", badges.issuer, name="issuer"),
    path("keys.json", badges.keys, name="keys"),
    path("document-certificates.pem", badges.document_certificates, name="document_certificates"),
    path("status/<uuid:token>", badges.status_list, name="status_list"),
    path("releases/check/", releases.check, name="check_release"),
    # assessors
    path("desk/", desk.desk, name="desk"),
    path("desk/applications/<int:pk>/", desk.item, name="desk_item"),
    path("desk/applications/<int:pk>/mark/", desk.mark, name="mark"),
    path("desk/applications/<int:pk>/confirm/", desk.confirm, name="confirm"),
    path("desk/appeals/<int:pk>/", desk.appeal, name="desk_appeal"),
    path("desk/certificates/<str:number>/", desk.certificate, name="desk_certificate"),
    path("desk/register/", desk.register, name="register"),
    # bureau
    path("bureau/", bureau.bureau, name="bureau"),
    path("bureau/counted/", bureau.counted, name="counted"),
    path("bureau/open/", bureau.open_records, name="open_records"),
    path("bureau/records/<int:pk>/", bureau.records, name="records"),
    path("bureau/records/<int:pk>/<str:number>/", bureau.record, name="record"),
    path("bureau/targets/", planning.targets, name="targets"),
    path("bureau/workforce/", planning.workforce, name="workforce"),
    path("bureau/workforce.xlsx", planning.workforce_template, name="workforce_template"),
    path("bureau/export.xlsx", bureau.export, name="export"),
    path("bureau/releases/", releases.releases, name="releases"),
    path("bureau/releases/<int:pk>/", releases.release, name="release"),
    path("bureau/releases/<int:pk>/release.json", releases.download, name="release_download"),
]
