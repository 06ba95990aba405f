"""The commands of ``bmd-node`` beside the main ones, which are in :mod:`node.cli`; thin, as that is."""
