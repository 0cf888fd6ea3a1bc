"""Each plant's drawing in a real browser with the room's script and style under a strict policy: what is bound is shown,
nothing is cut off or covers something else, and it can be read on a phone."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.utils import translation
from playwright.sync_api import Browser, Page, Route

from cyber_range.engine.process.catalogue import MODELS
from drills.views.mimics import template_of
from drills.views.words import room_words
from tests.cyber_range.engine.process.loop import Loop
from tests.e2e.conftest import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.slow]

STATIC = [ROOT / "lms/design/static", ROOT / "drills/static"]
SHEETS = ["vendored/tabler/tabler.min.css", "lb/css/tokens.css", "lb/css/lb.css", "drills/drills.css"]
POLICY = "default-src 'self'; style-src 'self'; script-src 'self'"
SMALLEST = 10.5  # px on a phone
# model -> minutes of normal run, what an attacker does then, minutes after
ATTACKS: dict[str, tuple[float, Callable[[Loop], Any], float]] = {
    "filling_line": (0.5, lambda loop: loop.write("filler", fill_setpoint=640), 1.5),
    "injection_moulding": (2, lambda loop: loop.write("press3", heaters=0), 6),
    "heat_treatment_furnace": (4, lambda loop: loop.write("furnace", auto=0, manual_valve=100, interlock=0), 16),
    "dyeing_vat": (2, lambda loop: loop.write("vat", temp_setpoint=80), 12),
    "water_skid": (2, lambda loop: loop.write("wastewater", auto=0), 9),
    "cnc_workshop": (2, lambda loop: loop.write("cnc1", tool_offset=2000), 5),
    "cold_store": (2, lambda loop: loop.write("chiller", fan=0), 24),
}


def feed(model: str) -> dict[str, Any]:
    """A telemetry message of the plant under attack, as the socket sends it."""
    before, attack, after = ATTACKS[model]
    loop = Loop(model, scan=0.05 if model == "filling_line" else 2.0)
    loop.run(before)
    attack(loop)
    values = loop.run(after)
    variables = [v.as_dict() for v in loop.plant.variables()]
    alarms = [
        v["name"]
        for v in variables
        if (v["alarm_low"] is not None and values[v["name"]] < v["alarm_low"])
        or (v["alarm_high"] is not None and values[v["name"]] > v["alarm_high"])
    ]
    return {"variables": variables, "values": values, "alarms": alarms}


def page_of(model: str, language: str, theme: str) -> str:
    with translation.override(language):
        words = room_words()
        picture = render_to_string(template_of(model), {"words": words})
    sheets = "".join(f'<link rel="stylesheet" href="/static/{sheet}">' for sheet in SHEETS)
    return f"""<!doctype html><html lang="{language}" data-bs-theme="{theme}"><head><meta charset="utf-8"><title>x</title>
<meta name="viewport" content="width=device-width, initial-scale=1">{sheets}<link rel="icon" href="/static/lb/img/mark.svg"></head>
<body class="dr-body"><main class="lb-main lb-full dr-room"><div class="dr-panel" id="p-hmi">
<div id="mimic" class="dr-mimic" hidden>{picture}</div><details id="values"><summary>x</summary><div></div></details></div></main>
<script type="application/json" id="room-config">{{"drill": 1}}</script>
<script type="application/json" id="room-words">{json.dumps(words, ensure_ascii=False)}</script></body></html>"""


def shown(page: Page, html: str, message: dict[str, Any]) -> list[str]:
    """The drawing, fed; gives what the console complained of."""
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    def serve(route: Route) -> None:
        path = route.request.url.split("://mimic.test", 1)[1]
        if path == "/":
            route.fulfill(
                body=html, headers={"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}
            )
            return
        found = next((s / path.removeprefix("/static/") for s in STATIC if (s / path[8:]).is_file()), None)
        if found is None:
            route.fulfill(status=404)
        else:
            route.fulfill(body=found.read_bytes(), headers={"content-type": kind_of(found)})

    page.route("**/*", serve)
    page.goto("http://mimic.test/")
    page.evaluate(
        """async (message) => {
            const { showTelemetry } = await import("/static/drills/mimic.js");
            const { store } = await import("/static/drills/store.js");
            store.state = { alarms: Object.fromEntries(message.alarms.map((name) => [`${name}_high`, { on: true }])) };
            showTelemetry(message);
            showTelemetry({ values: message.values, alarms: message.alarms });
        }""",
        message,
    )
    return complaints


def kind_of(file: Path) -> str:
    return mimetypes.guess_type(file.name)[0] or "application/octet-stream"


# Texts that stand on each other, by the boxes of their letters; a hidden one does not count.
COVERED = """() => [...document.querySelectorAll(".dr-mimic svg")].flatMap((svg) => {
    const texts = [...svg.querySelectorAll("text")].filter((t) => t.textContent.trim() && getComputedStyle(t).visibility === "visible")
        .map((t) => [t.textContent.trim(), t.getBoundingClientRect()]);
    const frame = svg.getBoundingClientRect();
    const found = texts.filter(([, r]) => r.left < frame.left - 1 || r.right > frame.right + 1).map(([t]) => `${t} is cut off`);
    texts.forEach(([a, r], i) => texts.slice(i + 1).forEach(([b, q]) => {
        const wide = Math.min(r.right, q.right) - Math.max(r.left, q.left);
        const high = Math.min(r.bottom, q.bottom) - Math.max(r.top, q.top);
        if (wide > 1 && high > 0.35 * Math.min(r.height, q.height)) found.push(`${a} and ${b}`);
    }));
    return found;
})"""


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("language", "theme", "width"), [("zh-hans", "light", 390), ("zh-hans", "dark", 800), ("en", "light", 800)]
)
def test_a_drawing_shows_its_plant_legibly(browser: Browser, model: str, language: str, theme: str, width: int) -> None:
    message = feed(model)
    page = browser.new_page(viewport={"width": width, "height": 844})
    try:
        complaints = shown(page, page_of(model, language, theme), message)
        empty = page.eval_on_selector_all(
            "[data-value]", "all => all.filter((t) => !t.textContent).map((t) => t.dataset.value)"
        )
        rung = page.eval_on_selector_all('[data-alarm][data-state="new"]', "all => all.map((g) => g.dataset.alarm)")
        small = page.evaluate(
            """() => Math.min(...[...document.querySelectorAll(".dr-mimic text")].map((t) =>
                parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getBoundingClientRect().width / t.ownerSVGElement.viewBox.baseVal.width))"""
        )
        overlaps = page.evaluate(COVERED)
        wide = page.evaluate("document.documentElement.scrollWidth")
        visible = page.is_visible(".mi-board")
    finally:
        page.close()

    assert complaints == []
    assert visible
    assert empty == []
    assert set(rung) == set(message["alarms"])
    assert overlaps == []
    assert small >= SMALLEST
    assert wide <= width
