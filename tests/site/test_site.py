"""The built site: its search finds what people type, and it loads nothing from other hosts.

tox's environment ``docs`` builds the site and passes its folder.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import lunr
import pytest

SITE = Path(os.environ["DOCS_SITE"])

# What people type, and pages one of which is among the first three results.
SEARCHES = {
    "install": "quickstart/",
    "quickstart": "quickstart/",
    "api token": "quickstart/",
    "without an account": "quickstart/",
    "async": "quickstart/",
    "jupyter": "notebooks/",
    "notebook": "notebooks/",
    "colab": "notebooks/",
    "retry": "errors/",
    "timeout": "errors/",
    "time_limit": "errors/ reference/predictions/ reference/client/",
    "cancel_after": "errors/ reference/options/",
    "402": "errors/ reference/errors/",
    "422": "errors/ reference/errors/",
    "429": "errors/ reference/errors/",
    "NotFoundError": "errors/ reference/errors/",
    "CreateOutcomeUnknown": "errors/ reference/errors/",
    "rate limit": "fan-out/",
    "concurrency": "fan-out/ reference/client/",
    "billed twice": "fan-out/",
    "proxy": "proxies/",
    "HTTPS_PROXY": "proxies/",
    "certificate": "proxies/",
    "gateway": "proxies/",
    "CERTIFICATE_VERIFY_FAILED": "proxies/",
    "logging": "security/ tracing/",
    "opentelemetry": "tracing/",
    "webhook": "webhooks/",
    "receive a webhook": "webhooks/",
    "webhook signature": "security/",
    "DNS rebinding": "security/",
    "upload": "files/",
    "save": "files/ reference/file-output/",
    "stream": "streaming/",
    "cancel": "running/",
    "progress": "running/",
    "deployment": "running/",
    "django": "django/",
    "celery": "django/",
    "csv": "cookbook/",
    "discord": "cookbook/",
    "lora": "cookbook/",
    "resume": "journal/ cli/",
    "sqlite": "journal/",
    "postgresql": "journal/",
    "usage": "usage/",
    "cost": "usage/ cookbook/",
    "codegen": "typed-models/",
    "mypy": "typed-models/",
    "fastapi": "fastapi/",
    "nsfw": "errors/",
    "stdin": "cli/",
    "cold boot": "running/",
    "ipywidgets": "notebooks/",
    "s3": "cookbook/",
    "dask": "distributed/",
    "mock": "testing/",
    "pytest": "testing/",
    "virtual time": "testing/",
    "command line": "cli/",
    "exit status": "cli/",
    "migrate": "migration/",
    "predict_time": "reference/prediction/",
    "openapi_schema": "reference/models/",
}


separator: list[re.Pattern[str]] = []


def words_of(text: str) -> str:
    """Return the words of a text as the site's search separates them, without tags."""
    return " ".join(separator[0].split(re.sub(r"<[^>]*>", " ", text)))


@cache
def index() -> Any:
    """Return the index of the site's search, built as the browser builds it."""
    content = json.loads((SITE / "search" / "search_index.json").read_text(encoding="utf-8"))
    separator.append(re.compile(content["config"]["separator"]))
    documents = [
        (
            {"location": document["location"], **{name: words_of(document[name]) for name in ("title", "text")}},
            {"boost": document.get("boost", 1)},
        )
        for document in content["docs"]
    ]
    fields = [{"field_name": "title", "boost": 1000}, {"field_name": "text", "boost": 1}]
    return lunr.lunr(ref="location", fields=fields, documents=documents)


@pytest.mark.parametrize("words", SEARCHES)
def test_search(words: str) -> None:
    """The right page is among the first three that a search finds."""
    search = index().search
    words_to_find = words_of(words).split()
    # Words may still be incomplete when results are shown, as in the browser.
    results = search(" ".join(f"+{word}" for word in words_to_find)) or search(
        " ".join(f"{word} {word}*" for word in words_to_find)
    )
    pages = list(dict.fromkeys(result["ref"].partition("#")[0] for result in results))
    assert set(pages[:3]) & set(SEARCHES[words].split()), pages[:6]


def test_nothing_is_loaded_from_elsewhere() -> None:
    """No page needs another host: scripts, styles, fonts and pictures are the site's own."""
    elsewhere = {
        match
        for path in SITE.rglob("*.html")
        for match in re.findall(
            r"<(?:script|img|link rel=\"(?:stylesheet|preload|preconnect)\")[^>]*(?:src|href)=\"((?:https?:)?//[^\"]+)",
            path.read_text(encoding="utf-8"),
        )
    }
    assert elsewhere == set()


def test_every_page_has_a_title_and_a_heading() -> None:
    """Pages are found by their titles."""
    for path in SITE.rglob("index.html"):
        text = path.read_text(encoding="utf-8")
        assert len(re.findall(r"<h1\b", text)) == 1, path
        assert re.search(r"<title>[^<]+</title>", text), path
