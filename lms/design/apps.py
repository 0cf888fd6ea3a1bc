from django.apps import AppConfig


class DesignConfig(AppConfig):
    name = "lms.design"
    label = "design"

    def ready(self) -> None:
        from lms.design.editor import without_inline_scripts

        without_inline_scripts()
