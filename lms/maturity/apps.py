from django.apps import AppConfig


class MaturityConfig(AppConfig):
    name = "lms.maturity"
    label = "maturity"
