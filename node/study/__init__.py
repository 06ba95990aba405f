"""One study's way through the rooms, and what it leaves in its folder."""
