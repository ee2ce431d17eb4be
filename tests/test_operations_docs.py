"""The programs of docs/operations.md run as they stand there."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)


def test_there_is_one():
    assert len(BLOCKS) == 1


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block(number):
    exec(compile(BLOCKS[number], f"docs/operations.md, block {number}", "exec"), {"__name__": "docs"})
