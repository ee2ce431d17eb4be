"""docs/sharing.md: its programs run, and its numbers are those of the code."""

import inspect
import re
from pathlib import Path

import pytest

from fbguard.stores import access, listening, shared
from fbguard.stores.protocol import Space
from fbguard.stores.sqlite import SQLiteStore, tables

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "sharing.md").read_text()
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def sandbox(facebook_in_environment):
    return facebook_in_environment


@pytest.mark.parametrize("number", range(2))
def test_the_programs_run(sandbox, redis_server, tmp_path, number):
    program = BLOCKS[number].replace("redis://127.0.0.1:6379/0", redis_server.url)
    program = program.replace("/var/lib/myapp", str(tmp_path))
    namespace = {"__name__": "documented"}
    exec(compile(program, f"docs/sharing.md, block {number}", "exec"), namespace)
    with namespace["guard"] as guard:
        assert guard.check(sandbox.issue_token(user_id="42")).user_id == "42"
        assert guard.health().store is not None


def test_every_program_is_run():
    assert len(BLOCKS) == PAGE.count("```python") == 2
    assert max(map(len, PAGE.splitlines())) <= 130


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (r"waits (\d+) ms for the store", access.READ * 1000),
        (r"more than ([\d,]+) in a second", listening.MOST),
        (r"again after ([\d.]+) s", listening.SOONEST),
        (r"`size` facts \(([\d,]+)\)", inspect.signature(SQLiteStore).parameters["size"].default),
        (r"([\d,]+) tombstones of tokens", tables.MOST_STONES),
    ],
)
def test_its_numbers(said, value):
    found = re.search(said, " ".join(PAGE.split()))
    assert found
    assert float(found[1].replace(",", "")) == value


def test_its_words():
    assert (access.FAILURES, access.REST, shared.CLAIM, listening.LATEST) == (3, 1.0, 1.0, 1.0)
    for words in ("after three questions in a row", "one question a second", "at most a second"):
        assert words in " ".join(PAGE.split())


def test_the_methods_of_a_store_are_as_many_as_it_says():
    methods = [name for name in vars(Space) if not name.startswith("_")]
    assert len(methods) == 12
    assert "in twelve methods" in " ".join(PAGE.split())


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (DOCS / target).exists(), target
