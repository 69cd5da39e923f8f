"""Intakes: one module a sender, all of one shape.

An intake owns its routes, takes a request's body, and answers only after the outbox has made the
report durable. It may read the clock and its collaborators (pseudonyms, stamps, budgets, outbox,
metrics); it may not talk to InfluxDB, write files, or let a sender's identity past itself. What
a sender's words mean is a pure method `understand(body, now_ns)`, so that past days can be laid
down through the same code. A new sender is a new module here, and its cases in tests/cases.
"""
