"""One study: its path through the stages, and the files in the folder of its run."""
