"""The page of docs/fastapi.md in a real browser, whose EventSource reads the events."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright

from replicate_async.testing import LocalServer

PAGE = (Path(__file__).parents[2] / "docs" / "fastapi.md").read_text(encoding="utf-8")
(APP,) = re.findall(r"^```python\n# app.py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if path is None:
        pytest.fail("these tests need a browser: install Chromium, on Debian with `apt-get install chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(10_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, server: LocalServer) -> Iterator[str]:
    """Serve the application, and give its address."""
    monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
    monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
    namespace: dict[str, Any] = {"__name__": "app"}
    exec(compile(APP, "app.py", "exec"), namespace)
    application = uvicorn.Server(uvicorn.Config(namespace["app"], port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=application.run)
    thread.start()
    until(lambda: application.started)
    yield f"http://127.0.0.1:{application.servers[0].sockets[0].getsockname()[1]}"
    application.should_exit = True
    thread.join()


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer() as server:
        yield server


def until(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_story(page: Page, url: str, server: LocalServer) -> None:
    """The text grows, with its line ends, and the end closes the stream: the model runs once."""

    @server.model("anthropic/claude-sonnet-4", official=True)
    def claude(prompt: str) -> Iterator[str]:
        yield from ("Once\nupon ", "a ", prompt)

    page.goto(url)
    expect(page).to_have_title("The end")
    assert page.locator("#story").text_content() == "Once\nupon a a cat"
    page.wait_for_timeout(300)
    assert len(server.predictions) == 1


def test_an_error_during_the_story(page: Page, url: str, server: LocalServer) -> None:
    """The page shows the error. Its EventSource reconnects, is told to stop, and the model runs once."""

    @server.model("anthropic/claude-sonnet-4", official=True)
    def claude(prompt: str) -> Iterator[str]:
        yield "Once "
        raise ValueError("the end")

    page.add_init_script(
        "EventSource = class extends EventSource { constructor(...a) { super(...a); window.es = this } }"
    )
    page.goto(url)
    expect(page.locator("#story")).to_contain_text(re.compile("Once prediction .* failed: the end"))
    # It reconnects after three seconds. 2 is CLOSED.
    page.wait_for_function("window.es.readyState === 2")
    assert len(server.predictions) == 1


def test_leaving_the_page(page: Page, url: str, server: LocalServer) -> None:
    """Who leaves the page cancels the prediction."""

    @server.model("anthropic/claude-sonnet-4", official=True)
    def claude(prompt: str) -> Iterator[str]:
        yield "Once "
        time.sleep(30)

    page.goto(url)
    expect(page.locator("#story")).to_contain_text("Once")
    page.goto("about:blank")
    until(lambda: [job.status for job in server.predictions.values()] == ["canceled"])
