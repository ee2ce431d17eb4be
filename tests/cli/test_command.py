"""What ``fbguard`` says before any command runs."""

import json
import re
import subprocess
import sys

import pytest

import fbguard
from tests.cli.processes import fbguard as call
from tests.cli.processes import run

FRAMEWORKS = {"aiohttp", "flask", "httpx", "rich", "starlette", "typer", "uvicorn", "werkzeug"}


def without(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where a module is not installed."""
    code = (
        f"import sys; sys.modules[{module!r}] = None; sys.argv = ['fbguard', *{list(words)!r}];"
        "from fbguard.cli import main; main()"
    )
    return run([sys.executable, "-c", code])


def test_version():
    done = call("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fbguard {fbguard.__version__}\n", "")


def test_it_is_a_module_too():
    done = run([sys.executable, "-m", "fbguard", "--version"])
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fbguard {fbguard.__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), ["demo", "sandbox", "inspect", "expire-session", "explain", "fbguard demo"]),
        (("demo",), ["--serve", "fbguard demo --serve", "exit code"]),
        (("sandbox",), ["--port", "8090", "--app-id", "--app-secret", "fbguard sandbox --port 9000"]),
    ],
)
def test_help_shows_options_and_examples(words, said):
    done = call(*words, "--help", COLUMNS="100")
    assert done.returncode == 0
    assert all(word in done.stdout for word in said)


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("audit",),
        ("debugger",),
        ("demo",),
        ("doctor",),
        ("expire-session",),
        ("explain",),
        ("inspect",),
        ("routes",),
        ("sandbox",),
    ],
)
def test_help_shows_no_value_beside_a_flag_and_no_file_of_the_sources(command):
    shown = call(*command, "--help", COLUMNS="100").stdout
    assert re.search(r"--help +Show", shown)
    assert "docs/" not in shown  # what is installed has no such folder
    assert "bool" not in shown.lower()
    if command == ("inspect",):
        assert re.search(r"--json +Print", shown)
        assert re.search(r"--app-id +<?(str|TEXT)", shown)


def test_an_unknown_command_is_a_usage_error():
    done = call("dmeo")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("module", "words", "extra"),
    [
        ("typer", ["sandbox"], "cli"),
        ("typer", ["demo"], "demo"),
        ("rich", ["sandbox"], "cli"),
        ("starlette", ["demo"], "demo"),
        ("uvicorn", ["demo"], "demo"),
        ("flask", ["demo"], "demo"),
        ("werkzeug", ["demo", "--serve"], "demo"),
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(module, words, extra):
    done = without(module, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"fbguard: {module} is not installed; run: pip install 'fbguard[{extra}]'\n"


def test_a_missing_module_of_the_core_is_no_missing_extra():
    done = without("httpx", "demo")
    assert "ModuleNotFoundError" in done.stderr


def test_importing_the_package_loads_no_framework():
    code = (
        "import json, sys, fbguard.cli; print(json.dumps([name.partition('.')[0] for name in sys.modules]))"
    )
    assert not FRAMEWORKS & set(json.loads(run([sys.executable, "-c", code]).stdout))


def test_the_sandbox_command_needs_no_web_framework():
    imports = "import json, sys, fbguard.cli.commands, fbguard.cli.local_facebook"
    code = f"{imports}; print(json.dumps(list(sys.modules)))"
    loaded = set(json.loads(run([sys.executable, "-c", code]).stdout))
    assert not {"flask", "httpx", "starlette", "uvicorn", "werkzeug"} & loaded
