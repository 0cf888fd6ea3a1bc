"""Drawings keep their shapes and lose everything that could run, load or link."""

import pytest

from courses.domain.figures import FigureError, clean_svg

EVIL = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 10 20" onload="alert(1)">
<script>alert(2)</script><style>@import url(//evil)</style><foreignObject><iframe src="//evil"/></foreignObject>
<a xlink:href="javascript:alert(3)"><text>点我</text></a><image href="//evil/x.png"/><use href="//evil#x"/><use href="#ok"/>
<rect id="ok" width="3" height="4" style="fill:#f00;background:url(//evil)" fill-opacity="url(//evil)"/><animate attributeName="href"/>
<text x="1">甲<tspan>乙</tspan>丙</text></svg>"""


def test_clean_svg_takes_out_what_runs_or_loads():
    drawing = clean_svg(EVIL)

    for word in (
        "script",
        "alert",
        "evil",
        "foreignObject",
        "iframe",
        "onload",
        "javascript",
        "style=",
        "<a",
        "image",
        "animate",
    ):
        assert word not in drawing.svg
    assert (drawing.width, drawing.height) == (10, 20)
    assert '<use href="#ok"' in drawing.svg
    assert 'fill="#f00"' in drawing.svg
    assert "甲<tspan>乙</tspan>丙" in drawing.svg
    assert {"<script>", "@onload", "<foreignObject>"} <= set(drawing.removed)


def test_clean_svg_is_stable():
    once = clean_svg(EVIL)

    assert clean_svg(once.svg).svg == once.svg
    assert clean_svg(once.svg).digest == once.digest


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ('<!DOCTYPE svg [<!ENTITY a "b">]><svg viewBox="0 0 1 1"/>', "实体"),
        ("<svg", "有效"),
        ("<html/>", "不是 SVG"),
        ('<svg xmlns="http://www.w3.org/2000/svg"/>', "尺寸"),
        ("<svg>" + "x" * 600_000 + "</svg>", "KB"),
    ],
)
def test_clean_svg_says_what_is_wrong(source, says):
    with pytest.raises(FigureError, match=says):
        clean_svg(source)
