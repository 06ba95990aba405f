"""``python -m node.cli``: the command line without an installed script, as the supervisor starts its parts."""

from node.cli.main import main

main()
