"""The index's route table: what builds its router, its document and its permission tests."""

from vin.api import health, history, matches, reporters, signals, token

ROUTES = (
    *token.ROUTES,
    *reporters.ROUTES,
    *signals.ROUTES,
    *matches.ROUTES,
    *history.ROUTES,
    *health.ROUTES,
)
