from django.urls import path, re_path

from cyber_range.authoring import views

urlpatterns = [
    path("write/", views.home, name="authoring"),
    path("write/new/", views.create, name="write_new"),
    path("write/schema/scenario-1.json", views.published_schema, name="schema"),
    path("write/<int:pk>/", views.editor, name="editor"),
    path("write/<int:pk>/state/", views.editor_state, name="editor_state"),
    path("write/<int:pk>/change/", views.editor_change, name="editor_change"),
    path("write/<int:pk>/file/", views.editor_file, name="editor_file"),
    path("write/<int:pk>/undo/", views.editor_undo, name="editor_undo"),
    path("write/<int:pk>/allowed/", views.editor_allowed, name="editor_allowed"),
    path("write/<int:pk>/preview/", views.preview_draft, name="preview_draft"),
    path("write/<int:pk>/try/", views.try_draft, name="try_draft"),
    path("write/<int:pk>/publish/", views.publish, name="publish"),
    path("write/<int:pk>/versions/", views.versions, name="versions"),
    re_path(r"^write/(?P<pk>\d+)/(?P<verb>archive|restore)/$", views.archive, name="archive"),
    path("preview/<slug:key>/", views.preview, name="preview"),
    path("preview/<slug:key>/try/", views.try_run, name="try_run"),
]
