"""The channels by which an alert leaves the node; :mod:`node.alerts.channels.registry` says how to add one."""
