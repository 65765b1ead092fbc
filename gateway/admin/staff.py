"""The routes by which staff work: appeals, complaints, labels, webhooks."""

from fastapi import FastAPI

from gateway.admin import appeals, complaints, labels, webhooks
from gateway.admin.review import Review

ROUTERS = (appeals.router, complaints.router, labels.router, webhooks.router)


def add_staff(app: FastAPI, review: Review) -> None:
    """Add the routes to the admin API, which lets nobody in but admins, whatever the route."""
    app.state.review = review
    for router in ROUTERS:
        app.include_router(router)
