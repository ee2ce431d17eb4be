"""``python -m fbguard`` is ``fbguard``."""

from fbguard.cli import main

main()
