"""What of an SVG drawing may be kept. A drawing is a picture: no script, no link out, no style sheet, no event."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET

SVG = "http://www.w3.org/2000/svg"
LARGEST = 512 * 1024  # bytes; a drawn lesson figure is a few kilobytes
ELEMENTS = frozenset(
    [
        "svg",
        "g",
        "defs",
        "title",
        "desc",
        "path",
        "rect",
        "circle",
        "ellipse",
        "line",
        "polyline",
        "polygon",
        "text",
        "tspan",
        "linearGradient",
        "radialGradient",
        "stop",
        "marker",
        "pattern",
        "clipPath",
        "mask",
        "symbol",
        "use",
    ]
)
ATTRIBUTES = frozenset(
    [
        "id",
        "class",
        "viewBox",
        "width",
        "height",
        "x",
        "y",
        "x1",
        "y1",
        "x2",
        "y2",
        "cx",
        "cy",
        "r",
        "rx",
        "ry",
        "d",
        "points",
        "transform",
        "fill",
        "fill-opacity",
        "fill-rule",
        "stroke",
        "stroke-width",
        "stroke-linecap",
        "stroke-linejoin",
        "stroke-dasharray",
        "stroke-dashoffset",
        "stroke-opacity",
        "stroke-miterlimit",
        "opacity",
        "font-family",
        "font-size",
        "font-weight",
        "font-style",
        "text-anchor",
        "dominant-baseline",
        "alignment-baseline",
        "letter-spacing",
        "dx",
        "dy",
        "rotate",
        "textLength",
        "lengthAdjust",
        "offset",
        "stop-color",
        "stop-opacity",
        "gradientUnits",
        "gradientTransform",
        "fx",
        "fy",
        "spreadMethod",
        "patternUnits",
        "patternContentUnits",
        "patternTransform",
        "markerWidth",
        "markerHeight",
        "markerUnits",
        "refX",
        "refY",
        "orient",
        "marker-start",
        "marker-mid",
        "marker-end",
        "clip-path",
        "clip-rule",
        "mask",
        "maskUnits",
        "maskContentUnits",
        "clipPathUnits",
        "preserveAspectRatio",
        "role",
        "aria-label",
        "aria-hidden",
        "aria-labelledby",
        "aria-describedby",
        "display",
        "visibility",
        "vector-effect",
        "paint-order",
        "writing-mode",
        "xml:space",
        "lang",
        "href",
    ]
)
LOCAL_URL = re.compile(r"^\s*url\(\s*['\"]?#[\w.\-]+['\"]?\s*\)\s*$")
LENGTH = re.compile(r"^\s*([\d.]+)(?:px)?\s*$")


class FigureError(ValueError):
    """Why a file cannot be taken as a drawing."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """`removed` names what was taken out, so that nobody wonders why the picture looks otherwise."""

    svg: str
    digest: str
    width: int
    height: int
    title: str
    removed: tuple[str, ...]


def clean_svg(source: str | bytes) -> Drawing:
    raw = source.encode() if isinstance(source, str) else source
    if len(raw) > LARGEST:
        raise FigureError(f"插图有 {len(raw) // 1024} KB，最多 {LARGEST // 1024} KB。请简化图形后再试。")
    if re.search(rb"<!\s*(DOCTYPE|ENTITY)", raw, re.IGNORECASE):
        raise FigureError("插图里有 DOCTYPE 或实体声明，请从绘图软件导出“普通 SVG”后再试。")
    try:
        root = ET.fromstring(raw)  # noqa: S314  declarations of entities were refused above
    except ET.ParseError as fault:
        line, column = fault.position
        raise FigureError(f"不是有效的 SVG：第 {line} 行第 {column} 列附近有错误。") from fault
    if root.tag not in (f"{{{SVG}}}svg", "svg"):
        raise FigureError("不是 SVG 图：最外层应当是 <svg>。")
    removed: dict[str, None] = {}
    clean = _copy(root, removed)
    width, height = _size(root)
    view = root.get("viewBox") or f"0 0 {width} {height}"
    first = {"xmlns": SVG, "viewBox": view, "width": str(width), "height": str(height)}
    clean.attrib = {**first, **{name: value for name, value in clean.attrib.items() if name not in first}}
    text = ET.tostring(clean, encoding="unicode")
    caption = clean.find("title")
    return Drawing(
        text,
        hashlib.sha256(text.encode()).hexdigest(),
        width,
        height,
        (caption.text or "").strip() if caption is not None else "",
        tuple(removed),
    )


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _copy(element: ET.Element, removed: dict[str, None]) -> ET.Element:
    clean = ET.Element(_local(element.tag))
    clean.text, clean.tail = element.text, element.tail
    for name, value in element.attrib.items():
        short = _local(name)
        if short == "style":
            _styles(clean, value, removed)
        elif _allowed(short, value):
            clean.set(short, value)
        else:
            removed[f"@{short}"] = None
    for child in element:
        tag = _local(child.tag) if isinstance(child.tag, str) else ""
        if tag in ELEMENTS:
            clean.append(_copy(child, removed))
            continue
        if tag:
            removed[f"<{tag}>"] = None
        if child.tail:  # text behind a removed element stays where it was
            if len(clean):
                clean[-1].tail = (clean[-1].tail or "") + child.tail
            else:
                clean.text = (clean.text or "") + child.tail
    return clean


def _allowed(name: str, value: str) -> bool:
    if name not in ATTRIBUTES:
        return False
    if name == "href":
        return value.strip().startswith("#")
    return "url(" not in value.lower() or bool(LOCAL_URL.match(value))


def _styles(clean: ET.Element, value: str, removed: dict[str, None]) -> None:
    """Inline style as attributes: fills and strokes survive, anything else does not."""
    for declaration in value.split(";"):
        name, colon, setting = declaration.partition(":")
        name, setting = name.strip().lower(), setting.strip()
        if not colon:
            continue
        if name in ATTRIBUTES and name not in ("id", "class", "href") and _allowed(name, setting):
            clean.set(name, setting)
        else:
            removed[f"style {name}"] = None


def _size(root: ET.Element) -> tuple[int, int]:
    """In pixels: the view box when there is one, else width and height."""
    box = (root.get("viewBox") or "").replace(",", " ").split()
    if len(box) == 4:
        try:
            return max(1, round(float(box[2]))), max(1, round(float(box[3])))
        except ValueError:
            pass
    found = [LENGTH.match(root.get(name) or "") for name in ("width", "height")]
    if all(found):
        return tuple(max(1, round(float(match[1]))) for match in found if match)  # type: ignore[return-value]  # two of them
    raise FigureError("插图没有 viewBox，也没有宽和高，无法确定尺寸。请在 <svg> 上写 viewBox。")
