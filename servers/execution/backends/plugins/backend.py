"""One installed plugin as a kind of data source: offers what it declared, and runs it. Finds no plugins itself."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Final, TypeVar

from core.errors import InvalidInput, MarinaError, NotFound, SourceError
from marina.plugin import (
    ArgumentsUnfit,
    AskFailed,
    Context,
    Plugin,
    Produced,
    Prompt,
    Resource,
    ResourceNotFound,
    Tool,
    ToolError,
)
from servers.execution.backends.plugins.channel import Way
from servers.execution.backends.plugins.settings import PluginSettings
from servers.execution.contract import (
    Backend,
    Completion,
    GoesOn,
    Health,
    InputRequired,
    Offered,
    OfferedPrompt,
    OfferedResource,
    Offering,
    Operation,
    Outcome,
    Running,
    Sharing,
    Source,
)
from servers.execution.contract import Context as CallContext

logger = logging.getLogger(__name__)

T = TypeVar("T")

TOOL: Final = "tool"
RESOURCE: Final = "resource"
PROMPT: Final = "prompt"


class PluginBackend(Backend):
    """See ``contract.Backend``. One object a process. It holds no connections: those are the plugin's."""

    def __init__(self, plugin: Plugin[Any]) -> None:
        self.kind = plugin.name
        self.title = plugin.title
        self.summary = "A plugin that whoever runs Marina has installed."
        self._plugin = plugin
        self._settings = PluginSettings(plugin.settings)
        self.settings_schema: Mapping[str, Any] = self._settings.schema
        self.secret_settings = self._settings.secret

    def clean_settings(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return self._settings.clean(settings)

    def offered(self, settings: Mapping[str, Any]) -> Offering:
        plugin = self._plugin
        return Offering(
            tools=[
                Offered(
                    name=name,
                    title=tool.title,
                    description=tool.description,
                    input_schema=tool.input_schema,
                    output_schema=tool.output_schema,
                    annotations=tool.annotations,
                    operation=Operation(TOOL, {"name": name}),
                    icons=tool.icons,
                )
                for name, tool in plugin.tools.items()
            ],
            resources=[
                OfferedResource(
                    uri=uri,
                    name=resource.name,
                    title=resource.title,
                    description=resource.description,
                    mime_type=resource.mime_type,
                    operation=Operation(RESOURCE, {"uri": uri}),
                    template=resource.template,
                    annotations=resource.annotations,
                    icons=resource.icons,
                    size=resource.size,
                )
                for uri, resource in plugin.resources.items()
            ],
            prompts=[
                OfferedPrompt(
                    name=name,
                    title=prompt.title,
                    description=prompt.description,
                    arguments=prompt.arguments,
                    operation=Operation(PROMPT, {"name": name}),
                    icons=prompt.icons,
                )
                for name, prompt in plugin.prompts.items()
            ],
        )

    def compile(self, kind: str, definition: Mapping[str, Any]) -> Offered:
        message = f"The tools of {self.title} come with the plugin; none can be added."
        raise InvalidInput(message, errors=[{"path": "kind", "message": message}])

    def sharing(self, operation: Operation) -> Sharing:
        # Without the context, a function has no way to learn who calls.
        tool = self._plugin.tools.get(operation.definition.get("name", ""))
        return Sharing(by_caller=tool is None or bool(tool.signature.context))

    def running(self, operation: Operation) -> Running:
        tool = self._plugin.tools.get(operation.definition.get("name", ""))
        return Running() if tool is None else Running(tool.runs, tool.task_only)

    async def check(self, source: Source) -> Health:
        check = self._plugin.health
        started = perf_counter()
        try:
            settings = self._settings.read(source.settings)
            if check is not None:
                await (check(settings) if self._plugin.settings is not None else check())
        except InvalidInput as fault:
            return Health("unhealthy", fault.message, "settings_invalid")
        except ToolError as fault:
            return Health("unhealthy", str(fault), "plugin_unhealthy")
        except (Exception, SystemExit):
            # Foreign code: whatever it raises ends here.
            logger.exception(
                "a plugin's check failed", extra={"plugin": self.kind, "source_id": str(source.id)}
            )
            return Health("unhealthy", f"The check of the plugin {self.kind} failed.", "plugin_failed")
        return Health("healthy", latency_ms=(perf_counter() - started) * 1_000)

    async def execute(
        self,
        source: Source,
        operation: Operation,
        arguments: Mapping[str, Any],
        *,
        timeout: float,
        context: CallContext,
    ) -> Outcome:
        way = Way(context)
        given: Context[Any] = Context(
            way,
            caller=way.caller,
            settings=self._settings.read(source.settings),
            logger=self.kind,
            trace=way.trace,
        )
        try:
            produced = await self._run(operation, arguments, given, way)
        except ToolError as fault:
            if operation.kind == TOOL:
                return _outcome(Produced(str(fault), failed=True))
            raise SourceError(str(fault), code="plugin_refused") from None
        except NotFound as unknown:
            if operation.kind == RESOURCE:
                raise
            raise SourceError(unknown.message, code="plugin_refused") from None
        return _outcome(produced)

    async def complete(
        self,
        source: Source,
        operation: Operation,
        argument: str,
        value: str,
        given: Mapping[str, str],
        *,
        timeout: float,
        context: CallContext,
    ) -> Completion:
        thing = self._declared(operation)
        if isinstance(thing, Tool):
            raise self._gone(operation)
        settings = self._settings.read(source.settings)
        try:
            found = await self._guarded(
                lambda: thing.suggest(argument, value, given, settings), what=thing.name, request_id=""
            )
        except ToolError as fault:
            raise SourceError(str(fault), code="plugin_refused") from None
        return Completion(found.values, found.total, found.has_more)

    async def _run(
        self, operation: Operation, arguments: Mapping[str, Any], context: Context[Any], way: Way
    ) -> Produced:
        """Run what the operation names. ``ToolError`` is left to the caller; all else is one of Marina's errors."""
        run = self._runner(operation, arguments, context)
        what = next(iter(operation.definition.values()), "")
        try:
            produced = await self._guarded(run, what=what, request_id=context.caller.request_id, way=way)
        except (InputRequired, GoesOn, MarinaError, ToolError):
            if way.end is None:
                raise
        else:
            if way.end is None:
                return produced
        raise way.end from None

    async def _guarded(
        self, run: Callable[[], Awaitable[T]], *, what: str, request_id: str, way: Way | None = None
    ) -> T:
        """Run foreign code: what it raises by intent becomes an error of ours, and of the rest nothing gets out."""
        try:
            return await run()
        except (ToolError, InputRequired, GoesOn, MarinaError):
            raise
        except ArgumentsUnfit as fault:
            raise _unfit(fault) from None
        except ResourceNotFound:
            raise NotFound(
                "There is no such resource. List the resources and templates to see what there is.",
                code="resource_unknown",
            ) from None
        except AskFailed as failure:
            if isinstance(failure.__cause__, SourceError):
                raise failure.__cause__ from None
            raise SourceError(str(failure), code="client_refused") from None
        except (Exception, SystemExit) as fault:
            # sys.exit() must not end the process, nor a TimeoutError be taken for the engine's own deadline.
            # A task group wraps the end of a run in an exception of its own.
            if way is not None and way.end is not None:
                raise way.end from None
            logger.exception(
                "a plugin's function failed",
                extra={"plugin": self.kind, "operation": what, "request_id": request_id},
            )
            raise SourceError(
                f"The plugin {self.kind} failed. Whoever runs Marina finds the cause in its log"
                + (f", under the request {request_id}." if request_id else "."),
                code="plugin_failed",
            ) from fault

    def _runner(
        self, operation: Operation, arguments: Mapping[str, Any], context: Context[Any]
    ) -> Callable[[], Awaitable[Produced]]:
        thing = self._declared(operation)
        if isinstance(thing, Resource):
            variables = dict(arguments)
            uri = str(variables.pop("uri", thing.uri))
            return lambda: thing.run(uri, variables, context)
        return lambda: thing.run(arguments, context)

    def _declared(self, operation: Operation) -> Tool[..., Any] | Resource[..., Any] | Prompt[..., Any]:
        plugin, definition = self._plugin, operation.definition
        found: Tool[..., Any] | Resource[..., Any] | Prompt[..., Any] | None = None
        if operation.kind == TOOL:
            found = plugin.tools.get(definition.get("name", ""))
        elif operation.kind == RESOURCE:
            found = plugin.resources.get(definition.get("uri", ""))
        elif operation.kind == PROMPT:
            found = plugin.prompts.get(definition.get("name", ""))
        if found is None:
            raise self._gone(operation)
        return found

    def _gone(self, operation: Operation) -> SourceError:
        named = operation.definition.get("name") or operation.definition.get("uri") or ""
        return SourceError(
            f"The installed version of the plugin {self.kind} has no {operation.kind} {named} any more. "
            "Ask an editor of the team to refresh the data source.",
            code="plugin_outdated",
        )


def _outcome(produced: Produced) -> Outcome:
    # What content weighs, the engine counts.
    return Outcome(
        structured=produced.structured,
        text=produced.text,
        size=len(produced.text.encode()),
        content=produced.content,
        failed=produced.failed,
    )


def _unfit(fault: ArgumentsUnfit) -> InvalidInput:
    return InvalidInput(
        f"The arguments do not fit: {fault}. Mend them and call again.",
        errors=[{"path": path, "message": message} for path, message in fault.faults],
        code="arguments_invalid",
    )
