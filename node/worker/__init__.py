"""The durable worker: studies, deliveries and alerts that survive a crash."""
