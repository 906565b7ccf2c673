"""The index's route table: what builds its router, its document and its permission tests."""

from vin.api import (
    changes,
    health,
    history,
    matches,
    relations,
    reporters,
    signals,
    token,
)

ROUTES = (
    *token.ROUTES,
    *reporters.ROUTES,
    *signals.ROUTES,
    *changes.ROUTES,
    *relations.ROUTES,
    *matches.ROUTES,
    *history.ROUTES,
    *health.ROUTES,
)
