"""``python -m fbguard.cli`` is ``fbguard``."""

from fbguard.cli import main

main()
