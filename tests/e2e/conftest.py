"""The whole product as `make demo` starts it, and Chromium in front of it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.conftest import NEEDS, skip_or_fail

ROOT = Path(__file__).resolve().parent.parent.parent
AXE = Path(__file__).resolve().parent / "vendored" / "axe.min.js"
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESK = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
# The room's page lets xterm write styles; nothing else is ever refused.
QUIET = ("favicon",)


@dataclass(slots=True)
class Product:
    url: str
    state: Path
    accounts: dict[str, str]
    process: subprocess.Popen[str]

    def log(self, name: str) -> str:
        path = self.state / "logs" / f"{name}.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""


def free_port() -> int:
    """A port of which the next one is free, too (sockets)."""
    for _ in range(50):
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with socket.socket() as second:
                try:
                    second.bind(("127.0.0.1", port + 1))
                except OSError:
                    continue
                return port
    raise AssertionError("no two free ports in a row")


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A fresh demo with the driver of LIANBING_E2E_DRIVER (netns unless said otherwise), ended with Ctrl-C at the end."""
    state = tmp_path_factory.mktemp("product")
    state.chmod(0o755)  # range-host drops to a user of its own and must reach its folder
    port = free_port()
    driver = os.environ.get("LIANBING_E2E_DRIVER", "netns")
    environment = {
        key: value for key, value in os.environ.items() if key not in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL")
    }
    said = (state / "said.log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "lms.project", "demo", "--state", str(state), "--port", str(port), "--driver", driver],
        cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", process, state / "said.log", seconds=240)
        yield Product(f"http://127.0.0.1:{port}", state, json.loads((state / "accounts.json").read_text()), process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
        time.sleep(1)
        assert left_behind(state) == [], "Ctrl-C left processes behind"


def left_behind(state: Path) -> list[str]:
    """Command lines of living processes that were started with this state folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if str(state).encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:  # gone, or not ours to read
                continue
    return found


def wait_until_ready(url: str, process: subprocess.Popen[str], said: Path, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the demo ended with {process.returncode}:\n{said.read_text()[-3000:]}")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise AssertionError(f"{url} did not answer within {seconds} s:\n{said.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed with its module: Playwright keeps an event loop running, beside which no other asynchronous test can run."""
    binary = shutil.which("chromium")
    if binary is None:
        skip_or_fail(NEEDS["browser"])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@dataclass(slots=True)
class Visitor:
    """One person at one screen. `complaints` collects console errors, CSP refusals among them."""

    page: Page
    context: BrowserContext
    complaints: list[str]
    url: str

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path, wait_until="load")
        return self.page


@pytest.fixture
def visit(product: Product, browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """visit("learner", size=PHONE) -> a signed-in Visitor; visit(None) is the public."""
    opened: list[Visitor] = []

    def make(person: str | None, *, size: dict[str, int] = DESK, locale: str = "zh-CN") -> Visitor:
        context = browser.new_context(
            viewport=size, locale=locale, has_touch=size is PHONE, is_mobile=size is PHONE, color_scheme="light"
        )
        context.set_default_timeout(15_000)
        page = context.new_page()
        visitor = Visitor(page, context, [], product.url)
        page.on("console", lambda message: note(message, visitor.complaints))
        page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        if person:
            sign_in(visitor, person, product.accounts[person])
        opened.append(visitor)
        return visitor

    yield make
    for visitor in opened:
        visitor.context.close()
    assert [c for v in opened for c in v.complaints] == []


def note(message: ConsoleMessage, complaints: list[str]) -> None:
    if message.type == "error" and not any(word in message.text for word in QUIET):
        complaints.append(f"{message.text} @ {message.location.get('url', '')}")


def sign_in(visitor: Visitor, name: str, password: str) -> None:
    page = visitor.go("/accounts/login/")
    page.get_by_label("用户名").or_(page.locator("#id_login")).first.fill(name)
    page.locator("#id_password").fill(password)
    page.get_by_role("main").get_by_role("button", name="登录").click()
    page.wait_for_url(lambda url: "/accounts/login" not in url)


def axe_faults(page: Page) -> list[str]:
    """WCAG 2.2 A and AA faults of what is on screen, each with rule, element and what is wrong."""
    cdp = page.context.new_cdp_session(page)  # evaluates outside the page's CSP
    cdp.send("Runtime.evaluate", {"expression": AXE.read_text()})
    outcome = cdp.send(
        "Runtime.evaluate",
        {
            "expression": "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
            ".then(r => JSON.stringify(r.violations.map(v => v.nodes.map(n => `${v.id}: ${n.target} ${n.failureSummary}`)).flat()))",
            "awaitPromise": True,
            "returnByValue": True,
        },
    )
    return list(json.loads(outcome["result"]["value"]))


def picture(page: Page, name: str) -> None:
    """Keeps what is on screen for the README when LIANBING_PICTURES names a folder (`make pictures`)."""
    folder = os.environ.get("LIANBING_PICTURES")
    if not folder:
        return
    width = page.viewport_size["width"]
    raw = page.screenshot(animations="disabled", scale="css")
    small = Image.open(io.BytesIO(raw)).convert("P", palette=Image.Palette.ADAPTIVE, colors=128)
    small.save(Path(folder) / f"{name}-{width}.png", optimize=True)


def scrolls_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"))
