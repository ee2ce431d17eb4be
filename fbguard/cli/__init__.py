"""The command line: ``fbguard demo`` and the commands that docs/index.md lists.

Importing this package imports no framework: a command imports what it runs on when it is called.
``commands`` and ``token_commands`` are what can be typed, on the ``program``. ``demo`` plays the ``tour``
(data, in the words of ``steps``) against ``apps`` on ``servers``: ``walk`` asks, ``callers`` end sessions,
``compare`` judges, ``show`` prints on the ``terminal``. ``local_facebook`` is the sandbox command, ``curl``
the lines to copy, ``waiting`` the end by Ctrl-C. ``inspect`` shows one token, ``audit`` looks up many and
prints its ``findings``, ``expire`` ends a session, each by a guard of ``guards``: ``asking`` gets token and
secret, ``report`` says what is known, ``sheet`` and ``moments`` lay it out. ``explain`` and ``error_table``
show the catalogue of codes. ``doctor`` prints the ``checks``, ``routes`` what ``coverage`` finds of an app.
"""

from __future__ import annotations

import sys
from typing import Final

# What may not be installed, by the top name of the module, and the extra that brings it.
_EXTRA_OF: Final = {
    "typer": "cli",
    "rich": "cli",
    "starlette": "demo",
    "uvicorn": "demo",
    "flask": "demo",
    "werkzeug": "demo",
}
_USAGE_ERROR: Final = 2


def main() -> None:
    """Run the command that ``sys.argv`` asks for; always ends in SystemExit."""
    try:
        # Here, so that a missing extra is one line for the user and not a traceback.
        from fbguard.cli.commands import app  # noqa: PLC0415

        app(prog_name="fbguard")
    except ModuleNotFoundError as missing:
        module = (missing.name or "").partition(".")[0]
        if module not in _EXTRA_OF:
            raise
        # The demo's extra holds the other one: whoever wants the demo is sent to pip once only.
        extra = "demo" if "demo" in sys.argv[1:] else _EXTRA_OF[module]
        sys.stderr.write(f"fbguard: {module} is not installed; run: pip install 'fbguard[{extra}]'\n")
    sys.exit(_USAGE_ERROR)
