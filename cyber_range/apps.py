from django.apps import AppConfig


class CyberRangeConfig(AppConfig):
    name = "cyber_range"
    label = "cyber_range"
