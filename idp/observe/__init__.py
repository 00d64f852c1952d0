"""What the server tells about itself: never a secret, and a person's input only ever as data.

`request_id` names one request everywhere, `logs` writes structured, redacted lines that bear it, and `metrics` counts
for Prometheus.
"""
