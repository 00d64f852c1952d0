"""Plain ASGI middleware: `edge` is the only one, since each costs time on every request."""
