"""The durable worker: runs studies, deliveries and alerts so that they survive a crash.

* :mod:`~node.worker.loop` adds what is ready to the table ``work``, and starts a workflow for each row that is due.
* :mod:`~node.worker.workflows` holds the workflows. Each makes one attempt and records the outcome in its row.
* :mod:`~node.worker.passing` decides after an error: retry, or end.
* :mod:`~node.worker.reconcile` finds rows whose workflow is gone, and makes them due again.
* :mod:`~node.worker.compute` runs the stages of a study in a separate process with limits.
* :mod:`~node.worker.plain_data` stores values of workflows as JSON.
"""
