"""The index's route table: what builds its router, its document and its permission tests."""

from vin.api import (
    answer_page,
    changes,
    health,
    history,
    matches,
    outcomes,
    relations,
    reporters,
    signals,
    token,
    webhooks,
)

ROUTES = (
    *token.ROUTES,
    *reporters.ROUTES,
    *signals.ROUTES,
    *changes.ROUTES,
    *relations.ROUTES,
    *matches.ROUTES,
    *outcomes.ROUTES,
    *answer_page.ROUTES,
    *history.ROUTES,
    *webhooks.ROUTES,
    *health.ROUTES,
)
