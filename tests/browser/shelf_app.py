"""Marina with the tests' own kind of data source in it, for pages that the built-in kinds do not fill."""

from __future__ import annotations

from config.asgi import application
from tests.shelf import add_shelf_kind, fill_shelf, shelf_prompt, shelf_resource

__all__ = ["application"]

add_shelf_kind()
fill_shelf(
    "harbour",
    tools=["book_berth", "find_vessel"],
    resources=[
        shelf_resource("harbour://notices", title="Notices to mariners", mime_type="text/markdown"),
        shelf_resource(
            "harbour://tides/today", title="Tides of today", mime_type="application/json", size=2_048
        ),
        shelf_resource("harbour://vessels/{imo}", title="A vessel by its IMO number"),
        shelf_resource("harbour://charts/{+path}{?scale}", title="A chart, at a scale of your choice"),
    ],
    prompts=[
        shelf_prompt("arrival_report", description="Writes the report of a vessel's arrival."),
        shelf_prompt("berth_plan", description="Plans tomorrow's berths.", arguments=()),
    ],
)
