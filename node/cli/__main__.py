"""``python -m node.cli``: the command line without an installed script; the supervisor starts its parts this way."""

from node.cli.main import main

main()
