from django.apps import AppConfig


class ProjectConfig(AppConfig):
    name = "lms.project"
    label = "project"
