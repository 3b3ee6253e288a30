"""The local server's page, in a real browser."""

# ruff: noqa: T201 (models may print)

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta
from playwright.sync_api import Browser, Page, expect, sync_playwright

from replicate_async import Replicate
from replicate_async.testing import LocalServer, OutputFile, models

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
EVIL = "<script>document.title = 'gone'</script><img src=x onerror=\"document.title = 'gone'\">&amp;"
IMAGE = models.gradient(width=8, height=4).data

Open = Callable[..., Page]


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
def server() -> Iterator[LocalServer]:
    server = LocalServer()
    models.register(server)
    with server:
        yield server


@pytest.fixture
def open_page(browser: Browser, server: LocalServer) -> Iterator[Open]:
    """Give a function that opens the page; it must not complain, nor load anything from elsewhere."""
    complaints: list[str] = []
    requested: set[str] = set()
    contexts: list[Any] = []

    def open_(**options: Any) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page: Page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requested.add(request.url))
        page.goto(server.url)
        return page

    yield open_
    for context in contexts:
        context.close()
    # The browser itself tells of refusals, which are shown at the form.
    assert [text for text in complaints if "422 (Unprocessable" not in text] == []
    own = (server.url, server.delivery_url, "data:")
    assert [url for url in requested if not url.startswith(own)] == []


@pytest.fixture
def page(open_page: Open) -> Page:
    return open_page()


def field(page: Page, name: str) -> Any:
    """Find a control by its label."""
    return page.get_by_label(re.compile(f"^{name}( required)?$"))


def run(page: Page, model: str, **inputs: str) -> Any:
    """Run a model from its form; return the newest prediction on the page."""
    field(page, "Model").select_option(model)
    for name, value in inputs.items():
        field(page, name).fill(value)
    before = page.get_by_role("article").count()
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("article")).to_have_count(before + 1)
    newest = page.get_by_role("article").first
    expect(newest.get_by_role("heading")).to_have_text(model)
    return newest


# --- what runs ---


def test_an_output_appears(page: Page) -> None:
    """A model is run from its form, and its output comes up by itself; who can't see it is told."""
    expect(page.get_by_text("Nothing has run yet.")).to_be_visible()
    prediction = run(page, "replicate/hello-world", text="Alice")
    expect(prediction.get_by_text("hello Alice")).to_be_visible()
    expect(prediction.get_by_text("succeeded")).to_be_visible()
    expect(prediction.get_by_role("definition")).to_have_text("Alice")
    expect(page.locator("#announcement")).to_have_text("replicate/hello-world: succeeded")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_a_text_that_grows(page: Page, server: LocalServer) -> None:
    """A text that is streamed is shown as it comes."""
    more = threading.Event()

    @server.model("acme/story")
    def story() -> Iterator[str]:
        yield "Once upon"
        more.wait(10)
        yield " a time"

    expect(field(page, "Model")).to_contain_text("acme/story")
    prediction = run(page, "acme/story")
    expect(prediction.get_by_text("Once upon", exact=True)).to_be_visible()
    expect(prediction.get_by_text("processing")).to_be_visible()
    more.set()
    expect(prediction.get_by_text("Once upon a time", exact=True)).to_be_visible()


@pytest.mark.parametrize("files", ["url", "data"])
def test_images(open_page: Open, server: LocalServer, files: Literal["url", "data"]) -> None:
    """An image is shown, wherever it comes from, and has a text in its place."""
    server._store.output_files = files
    prediction = run(open_page(), "replicate-local/gradient", width="8", height="4")
    image = prediction.get_by_role("img", name="Output of replicate-local/gradient")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [8, 4]


def test_several_outputs(page: Page, server: LocalServer) -> None:
    """A list is shown item by item: images, sounds, links to other files, texts; objects are JSON."""

    @server.model("acme/mixed")
    def mixed() -> list[Any]:
        return [OutputFile(IMAGE), OutputFile(b"RIFF0000WAVE"), OutputFile(b"1,2", "text/csv", "table.csv"), "a text"]

    @server.model("acme/object")
    def object_() -> dict[str, Any]:
        return {"a": [1, None]}

    expect(field(page, "Model")).to_contain_text("acme/object")
    prediction = run(page, "acme/mixed")
    expect(prediction.get_by_role("img", name="Output 1 of acme/mixed")).to_be_visible()
    expect(prediction.get_by_role("link", name="table.csv")).to_have_attribute("rel", "noreferrer")
    expect(prediction.get_by_text("a text")).to_be_visible()
    expect(run(page, "acme/object").get_by_text('"a": [')).to_be_visible()


def test_a_failure(page: Page, server: LocalServer) -> None:
    """A model that fails shows why, and its logs with the traceback."""

    @server.model("acme/fail")
    def fail() -> str:
        print("so far so good")
        raise ValueError("no good")

    expect(field(page, "Model")).to_contain_text("acme/fail")
    prediction = run(page, "acme/fail")
    expect(prediction.get_by_text("failed", exact=True)).to_be_visible()
    expect(prediction.get_by_text("no good", exact=True)).to_be_visible()
    logs = prediction.get_by_label("Logs")
    expect(logs).to_contain_text("so far so good")
    expect(logs).to_contain_text("ValueError: no good")


def test_logs_and_canceling(page: Page, server: LocalServer) -> None:
    """Logs are shown while a model runs, and a running prediction can be canceled with the keyboard."""

    @server.model("acme/slow")
    async def slow() -> None:
        print("step 1")
        await asyncio.Event().wait()

    expect(field(page, "Model")).to_contain_text("acme/slow")
    prediction = run(page, "acme/slow")
    expect(prediction.get_by_label("Logs")).to_have_text("step 1\n")
    prediction.get_by_role("button", name="Cancel acme/slow").press("Enter")
    expect(prediction.get_by_text("canceled", exact=True)).to_be_visible()
    expect(prediction.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(prediction).to_be_focused()  # rather than nothing at all
    assert [one.status for one in server.predictions.values()] == ["canceled"]


def test_what_others_run(page: Page, server: LocalServer) -> None:
    """Predictions of other programs come up as well, the newest first, and disturb nobody who fills in the form."""
    field(page, "Model").select_option("replicate/hello-world")
    field(page, "text").press_sequentially("half a sen")
    with Replicate(base_url=server.base_url, bearer_token=server.token) as client:
        for name in ("Alice", "Bob"):
            client.run("replicate/hello-world", input={"text": name})
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("article").first.get_by_text("hello Bob")).to_be_visible()
    expect(field(page, "text")).to_be_focused()
    expect(field(page, "text")).to_have_value("half a sen")


def test_many(page: Page, server: LocalServer) -> None:
    """The newest hundred are shown, and how many there are."""
    with Replicate(base_url=server.base_url, bearer_token=server.token) as client:
        for number in range(103):
            client.run("replicate/hello-world", input={"text": str(number)})
    expect(page.get_by_text("Showing the newest 100 of 103.")).to_be_visible()
    expect(page.get_by_role("article")).to_have_count(100)
    expect(page.get_by_role("article").last.get_by_text("hello 3", exact=True)).to_be_visible()


def test_nothing_is_html(page: Page, server: LocalServer) -> None:
    """Whatever comes from models and callers is text: outputs, logs, errors, inputs, names and descriptions."""

    @server.model("acme/evil", description=EVIL)
    def evil(
        text: Annotated[str, Meta(description=EVIL)] = EVIL, choice: Literal["</option>" + EVIL, "b"] | None = None
    ) -> list[Any]:
        print(EVIL)
        data = "data:text/html," + EVIL.replace(" ", "")
        return [text, "javascript:document.title='gone'", data, f"{server.delivery_url}/%"]

    @server.model("acme/fail")
    def fail(text: str = EVIL) -> str:
        raise ValueError(text)

    @server.model("acme/object")
    def object_(text: str = EVIL) -> dict[str, str]:
        return {text: text}

    expect(field(page, "Model")).to_contain_text("acme/object")
    expect(run(page, "acme/object").locator(".output")).to_contain_text("<script>")
    for model in ("acme/fail", "acme/evil"):
        prediction = run(page, model)
        expect(prediction.get_by_role("definition")).to_have_text(EVIL)
        expect(prediction.get_by_label("Logs")).to_contain_text(EVIL)
        expect(prediction.locator(":is(.output, .error)", has_text=EVIL)).to_be_visible()
    expect(page.locator("#description")).to_have_text(EVIL)
    assert page.locator("script").count() == 1
    assert page.locator("img").count() == 0
    assert page.locator("a[href^=javascript]").count() == 0
    assert page.title() == "Replicate on this machine"


# --- the form ---


def test_all_kinds_of_inputs(page: Page, server: LocalServer, tmp_path: Path) -> None:
    """Each kind of input has its control, with what the schema says; what isn't filled in isn't sent."""
    given: list[dict[str, Any]] = []

    @server.model("acme/everything")
    def everything(
        prompt: Annotated[str, Meta(description="What to paint", max_length=50)],
        width: Annotated[int, Meta(ge=1, le=1024)] = 256,
        guidance: Annotated[float, Meta(ge=0)] = 3.5,
        style: Literal["naive", "cubist", "baroque"] = "cubist",
        loud: bool = True,
        image: Path | None = None,
        masks: list[Path] | None = None,
        seed: int | None = None,
        note: str = "a note",
        extra: dict[str, Any] | None = None,
    ) -> str:
        given.append(dict(locals()))
        return f"{image.read_bytes()!r}" if image else ""

    expect(field(page, "Model")).to_contain_text("acme/everything")
    field(page, "Model").select_option("acme/everything")
    for name, value in {"width": "256", "guidance": "3.5", "note": "a note", "seed": ""}.items():
        expect(field(page, name)).to_have_value(value)
    expect(field(page, "prompt")).to_have_accessible_description("What to paint · at most 50 characters")
    expect(field(page, "width")).to_have_accessible_description("1 to 1024, default 256")
    expect(field(page, "guidance")).to_have_attribute("min", "0")
    expect(field(page, "style").locator("option")).to_have_text(["naive", "cubist", "baroque"])
    expect(field(page, "loud")).to_be_checked()
    prediction = run(page, "acme/everything", prompt="a cat")
    expect(prediction.get_by_text("succeeded")).to_be_visible()
    assert given.pop().keys() >= {"prompt", "seed"}
    assert next(iter(server.predictions.values())).input == {
        "prompt": "a cat",
        "width": 256,
        "guidance": 3.5,
        "style": "cubist",
        "loud": True,
        "note": "a note",
    }
    for number in (1, 2):
        (tmp_path / f"{number}.bin").write_bytes(b"\x00file %d" % number)
    field(page, "style").select_option("baroque")
    field(page, "loud").uncheck()
    field(page, "image").set_input_files(tmp_path / "1.bin")
    field(page, "masks").set_input_files([tmp_path / "1.bin", tmp_path / "2.bin"])
    field(page, "extra").fill('{"a": [1.5, null]}')
    prediction = run(page, "acme/everything", seed="7", note="")
    expect(prediction.get_by_text("b'\\x00file 1'")).to_be_visible()
    (call,) = given
    assert (call["style"], call["loud"], call["seed"], call["note"]) == ("baroque", False, 7, "")
    assert (call["extra"], len(call["masks"])) == ({"a": [1.5, None]}, 2)


def test_the_api_refuses(page: Page, server: LocalServer) -> None:
    """What the API finds wrong is shown at the inputs that it names, the first of which gets the focus."""
    field(page, "Model").select_option("replicate-local/gradient")
    field(page, "height").fill("2000")
    field(page, "red").fill("300")
    page.get_by_role("button", name="Run", exact=True).click()
    height = field(page, "height")
    expect(height).to_be_focused()
    expect(height).to_have_attribute("aria-invalid", "true")
    expect(height).to_have_accessible_description(re.compile("Height in pixels.*Must be less than or equal to 1024"))
    expect(field(page, "red")).to_have_accessible_description(re.compile("Must be less than or equal to 255"))
    expect(field(page, "width")).to_have_attribute("aria-invalid", "false")
    expect(page.get_by_role("alert")).to_have_text("Input validation failed")
    assert server.predictions == {}
    height.fill("4")
    field(page, "red").fill("1")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("article").get_by_text("succeeded")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_empty()
    expect(height).to_have_attribute("aria-invalid", "false")


def test_what_is_required(page: Page) -> None:
    """A required input that isn't filled in is the API's to miss, and said at the input."""
    field(page, "Model").select_option("replicate/hello-world")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(field(page, "text")).to_have_accessible_description(re.compile("text is required"))
    expect(field(page, "text")).to_be_focused()


def test_what_is_not_json(page: Page, server: LocalServer) -> None:
    """What has to be JSON and isn't is not sent."""

    @server.model("acme/anything")
    def anything(value: Any = None) -> Any:
        return value

    expect(field(page, "Model")).to_contain_text("acme/anything")
    field(page, "Model").select_option("acme/anything")
    field(page, "value").fill("{")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Nothing was sent")
    expect(field(page, "value")).to_have_accessible_description("not JSON")
    assert server.requests == []


def test_a_fault_at_the_form(open_page: Open, server: LocalServer) -> None:
    """Any other refusal is shown as well, in the API's words."""
    server.faults.add(kind="status", operation="predictions.create", status=422, times=1)
    page = open_page()
    field(page, "Model").select_option("replicate/hello-world")
    field(page, "text").fill("a")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("The local server injected this error.")


def test_the_model_is_remembered(page: Page) -> None:
    """Reloading keeps the model that was chosen."""
    field(page, "Model").select_option("replicate-local/gradient")
    page.reload()
    expect(field(page, "Model")).to_have_value("replicate-local/gradient")
    expect(field(page, "height")).to_be_visible()


# --- what can be done with a prediction ---


def register_models(server: LocalServer) -> None:
    """Register a model that shows its progress, and one that fails."""

    @server.model("acme/steps", official=True)
    async def steps(until: int = 60) -> str:
        print("loading")
        for step in range(0, until + 1, 20):
            print(f" {step}%|##        | {step}/100 [00:01<00:03]")
        if until < 100:
            await asyncio.Event().wait()
        return "done"

    @server.model("acme/fail", official=True)
    def fail() -> str:
        raise ValueError("no good")


def test_a_progress_bar(page: Page, server: LocalServer) -> None:
    """The last progress bar in the logs is a bar while the prediction runs, and the logs show no bars before it."""
    register_models(server)
    expect(field(page, "Model")).to_contain_text("acme/steps")
    prediction = run(page, "acme/steps")
    bar = prediction.get_by_role("progressbar")
    expect(bar).to_have_js_property("value", 0.6)
    logs = prediction.get_by_label("Logs")
    expect(logs).to_contain_text("loading")
    expect(logs).to_contain_text("60/100")
    expect(logs).not_to_contain_text("40/100")
    prediction.get_by_role("button", name="Cancel").click()
    expect(bar).to_be_hidden()


def test_run_again(page: Page, server: LocalServer) -> None:
    """A prediction of either kind of model runs again with the same input, and needs no form for it."""
    for model, name, value in (("replicate/hello-world", "text", "Alice"), ("replicate-local/gradient", "width", "8")):
        prediction = run(page, model, **{name: value})
        count = page.get_by_role("article").count()
        prediction.get_by_role("button", name=f"Run {model} again").click()
        expect(page.get_by_role("article")).to_have_count(count + 1)
        expect(page.get_by_role("article").first.get_by_text("succeeded")).to_be_visible()
        first, second = list(server.predictions.values())[-2:]
        assert (second.input, second.model) == (first.input, model)


def test_run_again_fails(page: Page, server: LocalServer) -> None:
    """A prediction that can't be created again says so."""
    prediction = run(page, "replicate/hello-world", text="Alice")
    server.faults.add(kind="status", operation="predictions.create", status=422, times=1)
    prediction.get_by_role("button", name="again").click()
    expect(prediction.get_by_text("The prediction could not be created.")).to_be_visible()


@pytest.mark.parametrize("kind", ["Python", "curl", "command"])
def test_what_is_copied_runs(
    open_page: Open, server: LocalServer, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the buttons copy creates the same prediction, however odd its input is."""
    odd = {
        "text": 'it\'s "1" $HOME `id` \\ \n é \U0001f600',
        "number": 1.5,
        "flag": True,
        "nothing": None,
        "items": [1, "a"],
    }

    @server.model("acme/odd", official=True)
    def odd_inputs(text: str, number: float, flag: bool, items: list[Any], nothing: str | None = None) -> str:
        return text

    monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
    monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
    with Replicate() as client:
        client.run("acme/odd", input=odd)
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=f"Copy as {kind}").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    code = page.evaluate("navigator.clipboard.readText()")
    if kind == "Python":
        command = [sys.executable, "-c", f"{code}\nreplicate.default_client().close()"]
    else:
        (tmp_path / "replicate-async").write_text(
            f'#!/bin/sh\nexec {sys.executable} -m replicate_async.cli "$@"\n', encoding="utf-8"
        )
        (tmp_path / "replicate-async").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        command = ["sh", "-c", code]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=60)
    assert done.returncode == 0, (code, done.stderr)
    first, second = server.predictions.values()
    assert (second.input, second.model) == (first.input, "acme/odd")


def test_copied_files(open_page: Open, server: LocalServer) -> None:
    """A file in the input is a file name in what is copied, not its content."""

    @server.model("acme/size", official=True)
    def size(image: Path) -> int:
        return len(image.read_bytes())

    with Replicate(base_url=server.base_url, bearer_token=server.token) as client:
        client.run("acme/size", input={"image": OutputFile(IMAGE, "image/png").data_uri()})
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    copied = {}
    for kind in ("Python", "command"):
        page.get_by_role("button", name=f"Copy as {kind}").click()
        expect(page.locator("#announcement")).to_have_text(f"{kind} copied")
        copied[kind] = page.evaluate("navigator.clipboard.readText()")
    assert 'input={"image": Path("image.png")}' in copied["Python"]
    assert copied["command"] == "replicate-async run acme/size image=@image.png\n"


def test_filters(page: Page, server: LocalServer) -> None:
    """The list shows the predictions of a model or a status, and says so if there are none."""
    register_models(server)
    expect(field(page, "Model")).to_contain_text("acme/fail")
    run(page, "replicate/hello-world", text="Alice")
    run(page, "acme/fail")
    run(page, "acme/steps")
    articles = page.get_by_role("article")
    model, status = page.get_by_label("Filter by model"), page.get_by_label("Filter by status")
    model.select_option("replicate/hello-world")
    expect(articles).to_have_count(1)
    expect(articles.get_by_text("hello Alice")).to_be_visible()
    status.select_option("failed")
    expect(page.get_by_text("No prediction matches the filters.")).to_be_visible()
    expect(articles).to_have_count(0)
    model.select_option("All models")
    expect(articles.get_by_text("no good", exact=True)).to_be_visible()
    status.select_option("running")
    expect(articles.get_by_role("heading")).to_have_text("acme/steps")
    articles.get_by_role("button", name="Cancel").click()
    expect(articles).to_have_count(0)
    page.get_by_role("button", name="Show all").click()
    expect(articles).to_have_count(3)


def test_the_gallery(page: Page, server: LocalServer) -> None:
    """The gallery shows the pictures only, side by side."""
    run(page, "replicate/hello-world", text="Alice")
    gallery = page.get_by_role("button", name="Gallery")
    gallery.click()
    expect(page.get_by_text("No prediction here has a picture.")).to_be_visible()
    gallery.click()
    for width in ("8", "9"):
        image = run(page, "replicate-local/gradient", width=width, height="4").get_by_role("img")
        expect(image).to_be_visible()
    gallery.click()
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("img")).to_have_count(2)
    expect(page.get_by_text("hello Alice")).to_be_hidden()
    first, second = (page.get_by_role("article").nth(number).bounding_box() for number in range(2))
    assert first
    assert second
    assert (first["y"], first["x"] < second["x"]) == (second["y"], True)


def test_the_keyboard(open_page: Open, server: LocalServer) -> None:
    """Everything works without a mouse; single keys do nothing while a text is typed."""
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    field(page, "Model").select_option("replicate/hello-world")
    field(page, "text").press_sequentially("ngjk?")
    expect(field(page, "text")).to_have_value("ngjk?")
    field(page, "text").press("Control+Enter")
    expect(page.get_by_role("article")).to_have_count(1)
    run(page, "replicate/hello-world", text="Bob")
    page.get_by_role("button", name="Run", exact=True).focus()
    newest, oldest = page.get_by_role("article").first, page.get_by_role("article").last
    page.keyboard.press("j")
    expect(newest).to_be_focused()
    page.keyboard.press("j")
    expect(oldest).to_be_focused()
    page.keyboard.press("c")
    expect(page.locator("#announcement")).to_have_text("Python copied")
    page.keyboard.press("r")
    expect(page.get_by_role("article")).to_have_count(3)
    page.keyboard.press("k")
    page.keyboard.press("k")
    expect(newest).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("n")
    expect(field(page, "Model")).to_be_focused()
    assert list(server.predictions.values())[-1].input == {"text": "ngjk?"}


def test_the_empty_state(open_page: Open, server: LocalServer) -> None:
    """Before the first prediction, the page says what to do; what it says works."""
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    expect(page.get_by_text("Choose a model and press Run")).to_be_visible()
    page.get_by_role("button", name="Copy", exact=True).click()
    variables = page.evaluate("navigator.clipboard.readText()")
    assert variables == f"export REPLICATE_BASE_URL={server.base_url}\nexport REPLICATE_API_TOKEN={server.token}"
    run(page, "replicate/hello-world", text="Alice")
    expect(page.get_by_text("Choose a model and press Run")).to_be_hidden()


# --- the page itself ---


def test_narrow_and_dark(open_page: Open, server: LocalServer) -> None:
    """On 360 pixels nothing is cut off, and in the dark nothing is bright."""

    @server.model("acme/wide")
    def wide() -> list[str]:
        print("x" * 500)
        return ["y" * 500, "https://example.com/" + "z" * 500]

    page = open_page(viewport={"width": 360, "height": 740}, color_scheme="dark")
    # The empty state has lines that are longer than the page.
    expect(page.get_by_text("export REPLICATE_BASE_URL")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    expect(field(page, "Model")).to_contain_text("acme/wide")
    prediction = run(page, "acme/wide")
    expect(prediction.get_by_text("succeeded")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    lightness = "color => getComputedStyle(document.body)[color].match(/\\d+/g).reduce((a, b) => a + +b, 0)"
    assert page.evaluate(lightness, "backgroundColor") < 150 < 600 < page.evaluate(lightness, "color")
    bright = open_page(color_scheme="light")
    assert bright.evaluate(lightness, "color") < 150 < 600 < bright.evaluate(lightness, "backgroundColor")


def test_a_server_that_goes_and_comes_back(browser: Browser, server: LocalServer) -> None:
    """A server that doesn't answer is told of; another one in its place is used, with its own token and models."""
    port = int(server.url.rpartition(":")[2])
    other = LocalServer(port=port, token="another token")
    other.model("acme/other")(models.hello_world)
    page = browser.new_page()
    page.goto(server.url)
    server.__exit__(None, None, None)
    expect(page.get_by_text("The server doesn't respond. Retrying…")).to_be_visible()
    with other:
        expect(field(page, "Model")).to_have_text("acme/other")
        expect(run(page, "acme/other", text="a").get_by_text("hello a")).to_be_visible()
        page.close()


def test_no_models(browser: Browser) -> None:
    """A server without models says so, and has the form as soon as there is one."""
    with LocalServer() as empty:
        page = browser.new_page()
        page.goto(empty.url)
        expect(page.get_by_text("No model is registered.")).to_be_visible()
        expect(page.get_by_role("button", name="Run", exact=True)).to_be_hidden()
        empty.model("acme/new")(models.hello_world)
        expect(field(page, "text")).to_be_visible()
        page.close()
