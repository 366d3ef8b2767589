"""Resources and prompts that tools fill, in a team's configuration as a file."""

from __future__ import annotations

from servers.services.configuration.exporting import export_configuration
from servers.services.configuration.importing import apply_configuration
from servers.services.handmade import create_prompt, create_resource, find_faults, resource_definition
from servers.services.resources import list_resources
from servers.services.sources import create_source
from servers.services.tools import create_tool
from tests.factories import make_database, make_team


def test_what_tools_fill_comes_after_the_tools(database: None) -> None:
    team = make_team()
    dsn = make_database("CREATE TABLE orders (id int)")
    create_source("shop", "postgres", {"dsn": dsn}, caller=team.owner)
    sql = "SELECT id FROM orders WHERE id = :order_id"
    definition = {"sql": sql, "parameters": {"order_id": {"type": "integer"}}}
    create_tool("get_order", "shop", "sql", definition, caller=team.owner)
    order = {"tool": "get_order", "arguments": {"order_id": "${id}"}, "pick": "/rows/0"}
    find = {**order, "pick": "/rows", "member": "id"}
    variables = {"id": {"complete": find}}
    create_resource({"uri": "an-order://{id}", "result": order, "variables": variables}, caller=team.owner)
    arguments = [{"name": "id", "required": True, "complete": find}]
    messages = [{"text": "${order}"}]
    prompt = {"name": "a-prompt", "arguments": arguments, "results": {"order": order}, "messages": messages}
    create_prompt(prompt, caller=team.owner)
    text = export_configuration(caller=team.owner)
    other = make_team()
    apply_configuration(text, secrets={"shop": {"dsn": dsn}}, caller=other.owner)
    assert export_configuration(caller=other.owner) == text
    (row,) = [row for row in list_resources(caller=other.owner) if not row.brought]
    assert resource_definition(row)["result"] == order
    assert find_faults(row) == []
