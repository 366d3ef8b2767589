"""What the official conformance suite calls, as a plugin: tools, resources, templates and prompts of its scenarios."""

from conformance_fixtures import asking, changing, longrun, prompts, resources, rounds, tools
from conformance_fixtures.declared import plugin

__all__ = ["asking", "changing", "longrun", "plugin", "prompts", "resources", "rounds", "tools"]
