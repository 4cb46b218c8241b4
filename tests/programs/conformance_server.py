"""The MCP server that the official conformance suite wants to find: its tools, resources and prompts, over stdio.

Names, texts that are looked at, and schemas are the suite's; `npx @modelcontextprotocol/conformance list` shows them.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import struct
import wave
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from mcp import MCPError, types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

Context = ServerRequestContext[Any]
Arguments = dict[str, Any]
Content = list[types.ContentBlock]

PAUSE_S: Final = 0.05
# The server closes a stream after 4 s. Longer than that, so that it does, and shorter than twice that, for the suite
# comes back only once; then it listens for 5 s.
RECONNECTION_S: Final = 6.0
LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
WATCHED: Final = "test://watched-resource"


@dataclass
class Told:
    """What the client has asked for."""

    level: str = LEVELS[0]
    watched: set[str] = field(default_factory=set)


told = Told()


def _png() -> str:
    """Return one red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


def _wav() -> str:
    """Return a hundredth of a second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 1, 8000, 0, "NONE", ""))
        sound.writeframes(b"\x80" * 80)
    return base64.b64encode(file.getvalue()).decode()


def text(value: str) -> types.TextContent:
    return types.TextContent(type="text", text=value)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=_png(), mime_type="image/png")


def embedded(uri: str, mime_type: str, value: str) -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=value)
    return types.EmbeddedResource(type="resource", resource=contents)


# -- tools


@dataclass(frozen=True)
class Tool:
    """What a tool takes, and what it does."""

    description: str
    run: Callable[[Context, Arguments], Awaitable[Content]]
    schema: dict[str, Any]


TOOLS: Final[dict[str, Tool]] = {}


def tool(
    name: str, description: str, schema: dict[str, Any] | None = None
) -> Callable[[Callable[[Context, Arguments], Awaitable[Content]]], None]:
    """List the function below under `name`; without a schema it takes nothing."""

    def add(run: Callable[[Context, Arguments], Awaitable[Content]]) -> None:
        TOOLS[name] = Tool(description, run, schema or {"type": "object", "properties": {}})

    return add


def one_string(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}


@tool("test_simple_text", "Say something.")
async def simple_text(ctx: Context, arguments: Arguments) -> Content:
    return [text("Text, as simple as it gets.")]


@tool("test_image_content", "Show a picture.")
async def image_content(ctx: Context, arguments: Arguments) -> Content:
    return [image()]


@tool("test_audio_content", "Play a sound.")
async def audio_content(ctx: Context, arguments: Arguments) -> Content:
    return [types.AudioContent(type="audio", data=_wav(), mime_type="audio/wav")]


@tool("test_embedded_resource", "Hand out a resource.")
async def embedded_resource(ctx: Context, arguments: Arguments) -> Content:
    return [embedded("test://embedded-resource", "text/plain", "A resource inside an answer.")]


@tool("test_multiple_content_types", "Say something, show a picture and hand out a resource.")
async def multiple_content_types(ctx: Context, arguments: Arguments) -> Content:
    data = json.dumps({"test": "data", "value": 123})
    return [text("Three kinds at once:"), image(), embedded("test://mixed-content-resource", "application/json", data)]


@tool("test_tool_with_logging", "Write three lines into the log.")
async def with_logging(ctx: Context, arguments: Arguments) -> Content:
    for pause_s, line in ((0.0, "begun"), (PAUSE_S, "half way"), (PAUSE_S, "done")):
        await asyncio.sleep(pause_s)
        if LEVELS.index("info") >= LEVELS.index(told.level):
            await ctx.session.send_log_message("info", line, "conformance", ctx.request_id)
    return [text("Three lines were logged.")]


@tool("test_error_handling", "Fail, always.")
async def error_handling(ctx: Context, arguments: Arguments) -> Content:
    raise RuntimeError("this tool fails, as it is meant to")


@tool("test_tool_with_progress", "Tell the progress three times.")
async def with_progress(ctx: Context, arguments: Arguments) -> Content:
    for pause_s, progress in ((0.0, 0), (PAUSE_S, 50), (PAUSE_S, 100)):
        await asyncio.sleep(pause_s)
        await ctx.session.report_progress(progress, 100)
    return [text("Done.")]


@tool("test_sampling", "Have the client's model answer.", one_string("prompt"))
async def sampling(ctx: Context, arguments: Arguments) -> Content:
    question = types.SamplingMessage(role="user", content=text(arguments["prompt"]))
    answer = await ctx.session.create_message([question], max_tokens=100, related_request_id=ctx.request_id)
    return [text(f"The model said: {answer.content}")]


async def ask(ctx: Context, message: str, properties: dict[str, Any], required: list[str]) -> Content:
    schema = {"type": "object", "properties": properties, "required": required}
    answer = await ctx.session.elicit_form(message, schema, ctx.request_id)
    return [text(f"{answer.action}: {json.dumps(answer.content)}")]


@tool("test_elicitation", "Ask the user for a name and an address.", one_string("message"))
async def elicitation(ctx: Context, arguments: Arguments) -> Content:
    properties = {
        "username": {"type": "string", "description": "what you are called here"},
        "email": {"type": "string", "description": "where mail reaches you"},
    }
    return await ask(ctx, arguments["message"], properties, list(properties))


@tool("test_elicitation_sep1034_defaults", "Ask with an answer already filled in for each kind of question.")
async def elicitation_defaults(ctx: Context, arguments: Arguments) -> Content:
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await ask(ctx, "Are these right?", properties, [])


@tool("test_elicitation_sep1330_enums", "Ask for a choice in each of the ways there are.")
async def elicitation_enums(ctx: Context, arguments: Arguments) -> Content:
    plain = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": title} for n, title in enumerate(("One", "Two", "Three"), 1)]
    properties = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["One", "Two"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await ask(ctx, "Choose.", properties, [])


@tool("test_reconnection", "Take so long that the client is sent away and asked to come back.")
async def reconnection(ctx: Context, arguments: Arguments) -> Content:
    await asyncio.sleep(RECONNECTION_S)
    return [text("You came back.")]


ALL_OF_2020_12: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@tool("json_schema_2020_12_tool", "Take what only JSON Schema 2020-12 can describe.", ALL_OF_2020_12)
async def json_schema_2020_12(ctx: Context, arguments: Arguments) -> Content:
    return [text(json.dumps(arguments))]


async def list_tools(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
    tools = [types.Tool(name=name, description=t.description, input_schema=t.schema) for name, t in TOOLS.items()]
    return types.ListToolsResult(tools=tools)


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
    if params.name not in TOOLS:
        raise MCPError(types.INVALID_PARAMS, f"no tool is called {params.name}")
    try:
        return types.CallToolResult(content=await TOOLS[params.name].run(ctx, params.arguments or {}))
    except RuntimeError as error:
        return types.CallToolResult(content=[text(str(error))], is_error=True)


# -- resources

RESOURCES: Final[dict[str, types.TextResourceContents | types.BlobResourceContents]] = {
    contents.uri: contents
    for contents in (
        types.TextResourceContents(uri="test://static-text", mime_type="text/plain", text="A text that never changes."),
        types.BlobResourceContents(uri="test://static-binary", mime_type="image/png", blob=_png()),
        types.TextResourceContents(uri=WATCHED, mime_type="text/plain", text="Nothing new."),
    )
}


async def list_resources(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListResourcesResult:
    resources = [
        types.Resource(uri=uri, name=uri.partition("//")[2], description="Made for tests.", mime_type=found.mime_type)
        for uri, found in RESOURCES.items()
    ]
    return types.ListResourcesResult(resources=resources)


async def list_templates(
    ctx: Context, params: types.PaginatedRequestParams | None
) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template="test://template/{id}/data",
        name="template",
        description="Data by id.",
        mime_type="application/json",
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)
    if uri in RESOURCES:
        return types.ReadResourceResult(contents=[RESOURCES[uri]])
    match = re.fullmatch("test://template/([^/]+)/data", uri)
    if match is None:
        raise MCPError(types.INVALID_PARAMS, "no such resource", {"uri": uri})
    data = json.dumps({"id": match[1], "data": f"what is known of {match[1]}"})
    contents = types.TextResourceContents(uri=uri, mime_type="application/json", text=data)
    return types.ReadResourceResult(contents=[contents])


async def subscribe(ctx: Context, params: types.SubscribeRequestParams) -> types.EmptyResult:
    told.watched.add(str(params.uri))
    return types.EmptyResult()


async def unsubscribe(ctx: Context, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
    told.watched.discard(str(params.uri))
    return types.EmptyResult()


# -- prompts

ARGUMENTS: Final = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
}


async def list_prompts(ctx: Context, params: types.PaginatedRequestParams | None) -> types.ListPromptsResult:
    prompts = []
    for name, takes in ARGUMENTS.items():
        arguments = [types.PromptArgument(name=one, description="any text", required=True) for one in takes]
        prompts.append(types.Prompt(name=name, description="Made for tests.", arguments=arguments))
    return types.ListPromptsResult(prompts=prompts)


async def get_prompt(ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    if params.name not in ARGUMENTS:
        raise MCPError(types.INVALID_PARAMS, f"no prompt is called {params.name}")
    given = params.arguments or {}
    content: dict[str, Content] = {
        "test_simple_prompt": [text("Say hello.")],
        "test_prompt_with_arguments": [text(", ".join(f"{name} is {value}" for name, value in given.items()))],
        "test_prompt_with_embedded_resource": [
            embedded(given.get("resourceUri", "test://none"), "text/plain", "What the resource says."),
            text("Work on the resource above."),
        ],
        "test_prompt_with_image": [image(), text("What does the picture show?")],
    }
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=c) for c in content[params.name]])


async def complete(ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
    values = [f"{params.argument.value}{ending}" for ending in ("ed", "ing", "s")]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


async def set_level(ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
    told.level = params.level
    return types.EmptyResult()


async def main() -> None:
    server = Server(
        "conformance",
        version="1",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=set_level,
    )
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


if __name__ == "__main__":
    asyncio.run(main())
