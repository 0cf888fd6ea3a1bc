"""What a lesson is made of. Each block is a template under courses/blocks/."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from wagtail import blocks
from wagtail.documents.blocks import DocumentChooserBlock
from wagtail.images.blocks import ImageChooserBlock
from wagtail.snippets.blocks import SnippetChooserBlock

RICH = ["bold", "italic", "ol", "ul", "link", "document-link", "hr", "code", "blockquote"]


class MarkdownBlock(blocks.TextBlock):
    class Meta:
        icon = "code"
        label = _("文字（Markdown）")
        template = "courses/blocks/markdown.html"


class FigureBlock(blocks.StructBlock):
    """A drawing from the figure collection, or a photo; one of the two."""

    drawing = SnippetChooserBlock("courses.Figure", required=False, label=_("插图（SVG）"))
    photo = ImageChooserBlock(required=False, label=_("照片"))
    alt = blocks.TextBlock(label=_("替代文字"), rows=2, help_text=_("看不见图的人靠它知道图里说了什么。"))
    caption = blocks.CharBlock(required=False, label=_("图注"))

    class Meta:
        icon = "image"
        label = _("图")
        template = "courses/blocks/figure.html"

    def clean(self, value: Any) -> Any:
        clean = super().clean(value)
        if bool(clean["drawing"]) == bool(clean["photo"]):
            raise blocks.StructBlockValidationError(non_block_errors=[_("插图和照片选一种，且只选一种。")])
        return clean


class VideoBlock(blocks.StructBlock):
    title = blocks.CharBlock(label=_("标题"))
    file = DocumentChooserBlock(label=_("视频文件"), help_text=_("MP4(H.264)，最好不超过五分钟。"))
    transcript = blocks.TextBlock(label=_("文字稿"), help_text=_("车间里听不清、耳朵不便的人靠它学习，必填。"))

    class Meta:
        icon = "media"
        label = _("视频")
        template = "courses/blocks/video.html"


class FileBlock(blocks.StructBlock):
    title = blocks.CharBlock(label=_("名称"))
    file = DocumentChooserBlock(label=_("文件"))
    why = blocks.CharBlock(required=False, label=_("用来做什么"))

    class Meta:
        icon = "doc-full"
        label = _("文件下载")
        template = "courses/blocks/file.html"


class CalloutBlock(blocks.StructBlock):
    style = blocks.ChoiceBlock(
        label=_("样式"),
        default="info",
        choices=[
            ("info", _("说明")),
            ("tip", _("窍门")),
            ("case", _("案例")),
            ("warning", _("注意")),
            ("danger", _("危险")),
        ],
    )
    title = blocks.CharBlock(label=_("标题"))
    text = blocks.TextBlock(label=_("内容（Markdown）"))

    class Meta:
        icon = "info-circle"
        label = _("提示框")
        template = "courses/blocks/callout.html"


class ChecklistBlock(blocks.StructBlock):
    title = blocks.CharBlock(label=_("标题"))
    items = blocks.ListBlock(blocks.CharBlock(label=_("一项")), label=_("事项"))

    class Meta:
        icon = "tasks"
        label = _("清单")
        template = "courses/blocks/checklist.html"


class LessonQuestionBlock(SnippetChooserBlock):
    """Shown with its answer, so it must not be one that exams draw."""

    def clean(self, value: Any) -> Any:
        found = super().clean(value)
        if found is not None and found.use != "lesson":
            raise ValidationError(_("这是考试用题，放进课时会泄露答案。请选“随堂”用途的题。"))
        return found


class LessonBody(blocks.StreamBlock):
    heading = blocks.CharBlock(icon="title", label=_("小标题"), template="courses/blocks/heading.html")
    text = blocks.RichTextBlock(features=RICH, label=_("文字"), template="courses/blocks/text.html")
    markdown = MarkdownBlock()
    figure = FigureBlock()
    video = VideoBlock()
    file = FileBlock()
    callout = CalloutBlock()
    checklist = ChecklistBlock()
    question = LessonQuestionBlock(
        "courses.Question",
        icon="help",
        label=_("随堂题"),
        template="courses/blocks/question.html",
        help_text=_("只能选“随堂”用途的题：随堂题会当场给出答案，不能再用于考试。"),
    )
