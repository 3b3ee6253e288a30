"""The examples of the page on Django and Celery, run as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from replicate_async.testing import LocalServer

from .conftest import Running

PAGE = Path(__file__).parents[2] / "docs" / "django.md"
FILES = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))

VISIT = """
import asyncio
import django
from django.conf import settings
from django.test import AsyncClient, Client

settings.configure(ROOT_URLCONF="views", ALLOWED_HOSTS=["testserver"], SECRET_KEY="test")
django.setup()
print(Client().get("/greet", {"name": "Alice"}).content.decode())
print(b"".join(Client().get("/story", {"about": "a b c"}).streaming_content).decode())

async def visit():
    print((await AsyncClient().get("/greet_async", {"name": "Bob"})).content.decode())
    import views
    await views.client.close()

asyncio.run(visit())
"""
TASKS = """
import start
from tasks import app, greet

app.conf.update(task_always_eager=True, task_eager_propagates=True)
print(greet.delay("Alice").get())
print(start.start("Bob").get())
"""


@pytest.mark.parametrize(
    ("program", "printed"),
    [(VISIT, "hello Alice\na b c\nhello Bob\n"), (TASKS, "hello Alice\nhello Bob\n")],
    ids=["views", "tasks"],
)
def test_the_page(running: Running, server: LocalServer, tmp_path: Path, program: str, printed: str) -> None:
    """The views answer, and the tasks return, what the models return."""
    assert list(FILES) == ["views.py", "tasks.py", "start.py"]
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    with running("program.py") as process:
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, printed), errors
