"""From recorded patients, operations and alerts to messages that leave: joins the rooms ``alert`` and ``plan``."""
