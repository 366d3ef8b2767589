"""The table of roles as people read it: the one that decides, with words for its actions. Decides nothing itself."""

from __future__ import annotations

from typing import Final

from tenants.roles import ALLOWED, Action, Role

ACTION_WORDS: Final[dict[Action, str]] = {
    Action.TENANT_READ: "See the team",
    Action.TENANT_CHANGE: "Rename the team, make and remove owners, hand it over",
    Action.MEMBERS_READ: "See members and invitations",
    Action.MEMBERS_CHANGE: "Invite, change and remove members",
    Action.KEYS_READ: "See API keys",
    Action.KEYS_CHANGE: "Issue and revoke API keys",
    Action.SOURCES_READ: "See data sources",
    Action.SOURCES_CHANGE: "Add and change data sources",
    Action.SOURCES_APPROVE: "Take over what a data source describes otherwise than before",
    Action.SECRETS_READ: "See secrets' names and where they are used",
    Action.SECRETS_CHANGE: "Name and replace secrets, and put them into data sources",
    Action.TOOLS_READ: "See tools",
    Action.TOOLS_CHANGE: "Make and change tools",
    Action.TOOLS_CALL: "Call tools",
    Action.RESOURCES_READ: "See and read resources",
    Action.PROMPTS_READ: "See and get prompts",
    Action.SERVERS_READ: "See servers and connect to them",
    Action.SERVERS_CHANGE: "Make and change servers",
    Action.SERVERS_PUBLISH: "Open a server to the public",
    Action.TASKS_READ: "See tasks and how far they are",
    Action.TASKS_MANAGE: "See tasks' results, cancel tasks and run them again",
    Action.AUDIT_READ: "Search and export the log",
    Action.AUDIT_PAYLOADS: "See in the log what calls were given and gave",
    Action.AUDIT_REVEAL: "See that of one record, with a reason that is recorded",
    Action.STREAMS_CHANGE: "Send the log to other places",
}


def roles_table() -> list[tuple[str, str, list[tuple[str, bool]]]]:
    """A row an action: its name, its words, and for every role whether it may."""
    return [
        (
            action.value,
            ACTION_WORDS.get(action, action.value),
            [(role.value, action in ALLOWED[role]) for role in Role],
        )
        for action in Action
    ]
