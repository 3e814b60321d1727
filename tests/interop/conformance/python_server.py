"""What does a server on the Python SDK look like that offers all that the conformance suite calls for?

`python python_server.py PORT [both|legacy|modern]` serves /mcp. What is asked of the client goes to a modern one as a
result that wants input, and to a legacy one as requests on its stream.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
    CompleteResult,
    CreateMessageRequest,
    CreateMessageResult,
    ElicitRequest,
    ElicitResult,
    EmptyResult,
    GetPromptResult,
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListRootsRequest,
    ListRootsResult,
    ListToolsResult,
    ReadResourceResult,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

OFFER = json.loads(Path(__file__).with_name("offer.json").read_text())
TOOLS = {tool["name"]: tool for tool in OFFER["tools"]}
PROMPTS = {prompt["name"]: prompt for prompt in OFFER["prompts"]}
NO_ARGUMENTS = {"type": "object", "properties": {}}
UNSUPPORTED_VERSION = -32022
# Of the client, by what it is asked.
ASKED = {
    "elicitation/create": ("elicitation", ElicitRequest, ElicitResult),
    "sampling/createMessage": ("sampling", CreateMessageRequest, CreateMessageResult),
    "roots/list": ("roots", ListRootsRequest, ListRootsResult),
}


class CannotBeAsked(Exception):
    """In the older era that is for the tool to say: the protocol has no error for it."""

    def __init__(self, missing: dict[str, Any]) -> None:
        super().__init__(f"The client does not offer {', '.join(missing)}")


def main(port: int, era: str) -> None:
    app = server_with_offer().streamable_http_app()
    only = {"legacy": as_before_the_newer_era, "modern": as_after_the_older_era}
    uvicorn.run(only[era](app) if era in only else app, host="127.0.0.1", port=port, log_level="warning")


def server_with_offer() -> Server:
    server = Server(
        "conformance-python",
        version="1.0.0",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=accept,
        on_unsubscribe_resource=accept,
        on_subscriptions_listen=ListenHandler(BUS),
        on_completion=complete,
        on_set_logging_level=accept,
        get_tool_input_schema=lambda name: TOOLS.get(name, {}).get("inputSchema"),
    )
    server.middleware.append(note_session)
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=server.name))
    return server


async def note_session(ctx: Any, call_next: Any) -> Any:
    """Who has shaken hands is told of changes, on the stream of GET."""
    if ctx.method == "initialize":
        SESSIONS.append(ctx.session)
    return await call_next(ctx)


async def list_tools(ctx: Any, params: Any) -> ListToolsResult:
    tools = [
        {"name": tool["name"], "description": tool["description"], "inputSchema": tool.get("inputSchema", NO_ARGUMENTS)}
        for tool in TOOLS.values()
    ]
    return ListToolsResult.model_validate({"tools": tools})


async def call_tool(ctx: Any, params: Any) -> CallToolResult | InputRequiredResult:
    tool = offered(TOOLS, params.name)
    given = params.arguments or {}
    try:
        answers = await ask(ctx, params, tool, given)
    except CannotBeAsked as error:
        return CallToolResult.model_validate({"content": [{"type": "text", "text": str(error)}], "isError": True})
    if isinstance(answers, InputRequiredResult):
        return answers
    await work(ctx, tool)
    result = {"content": tool["content"], "isError": tool.get("isError", False)}
    return CallToolResult.model_validate(filled(result, {**OFFER["values"], **given, "answers": json.dumps(answers)}))


async def list_prompts(ctx: Any, params: Any) -> ListPromptsResult:
    prompts = [
        {
            "name": prompt["name"],
            "description": prompt["description"],
            "arguments": [{"name": name, "required": True} for name in prompt.get("arguments", [])],
        }
        for prompt in PROMPTS.values()
    ]
    return ListPromptsResult.model_validate({"prompts": prompts})


async def get_prompt(ctx: Any, params: Any) -> GetPromptResult | InputRequiredResult:
    prompt = offered(PROMPTS, params.name)
    given = params.arguments or {}
    answers = await ask(ctx, params, prompt, given)
    if isinstance(answers, InputRequiredResult):
        return answers
    values = {**OFFER["values"], **given, "answers": json.dumps(answers)}
    return GetPromptResult.model_validate(filled({"messages": prompt["messages"]}, values))


async def list_resources(ctx: Any, params: Any) -> ListResourcesResult:
    return ListResourcesResult.model_validate({"resources": [without_content(each) for each in OFFER["resources"]]})


async def list_templates(ctx: Any, params: Any) -> ListResourceTemplatesResult:
    templates = [without_content(each) for each in OFFER["templates"]]
    return ListResourceTemplatesResult.model_validate({"resourceTemplates": templates})


async def read_resource(ctx: Any, params: Any) -> ReadResourceResult:
    uri = str(params.uri)
    for resource in OFFER["resources"]:
        if resource["uri"] == uri:
            return contents(uri, resource, OFFER["values"])
    for template in OFFER["templates"]:
        if found := re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template["uriTemplate"])), uri):
            return contents(uri, template, found.groupdict())
    raise MCPError(code=INVALID_PARAMS, message="There is no such resource", data={"uri": uri})


async def accept(ctx: Any, params: Any) -> EmptyResult:
    return EmptyResult()


async def complete(ctx: Any, params: Any) -> CompleteResult:
    return CompleteResult.model_validate({"completion": {"values": ["test one", "test two"]}})


async def ask(ctx: Any, params: Any, offer: dict[str, Any], given: dict[str, Any]) -> Any:
    """The client's answers, or the result that asks for them."""
    rounds = [askable(ctx, offer, filled(each, given)) for each in offer.get("rounds", [])]
    if is_modern(ctx):
        return ask_by_result(params, offer, rounds)
    answers = {}
    for each in rounds:
        answers |= zip(each, await asyncio.gather(*(ask_on_stream(ctx, request) for request in each.values())))
    return answers


async def ask_on_stream(ctx: Any, request: dict[str, Any]) -> dict[str, Any]:
    _, kind, result = ASKED[request["method"]]
    related = ServerMessageMetadata(related_request_id=ctx.request_id)
    return plain(await ctx.session.send_request(kind.model_validate(request), result, metadata=related))


def ask_by_result(params: Any, offer: dict[str, Any], rounds: list[dict[str, Any]]) -> Any:
    answers = params.input_responses or {}
    asked = int(params.request_state or 0) if offer.get("state") else 1
    following = asked
    if rounds and not (asked and rounds[asked - 1].keys() <= answers.keys()):
        following = max(asked - 1, 0)
    if following >= len(rounds):
        return {key: plain(answer) for key, answer in answers.items()}
    state = {"requestState": str(following + 1)} if offer.get("state") else {}
    return InputRequiredResult.model_validate({"inputRequests": rounds[following], **state})


def askable(ctx: Any, offer: dict[str, Any], requests: dict[str, Any]) -> dict[str, Any]:
    """What the client says that it can answer. Whether less than all will do is for the offer to say."""
    declared = plain(ctx.session.client_capabilities)
    needed = {key: ASKED[request["method"]][0] for key, request in requests.items()}
    missing = {name: {} for name in needed.values() if name not in declared}
    if missing and not offer.get("onlyDeclared"):
        raise CannotBeAsked(missing) if not is_modern(ctx) else MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="The client cannot be asked",
            data={"requiredCapabilities": missing},
        )
    return {key: request for key, request in requests.items() if needed[key] not in missing}


def is_modern(ctx: Any) -> bool:
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def plain(model: Any) -> dict[str, Any]:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


async def work(ctx: Any, tool: dict[str, Any]) -> None:
    for step in tool.get("steps", []):
        await asyncio.sleep(step.get("sleep", 0) / 1000)
        if "log" in step:
            await ctx.session.send_log_message("info", step["log"], related_request_id=ctx.request_id)
        if "progress" in step:
            await ctx.session.report_progress(step["progress"], 100)
    if tool.get("publishes") == "tools":
        await BUS.publish(ToolsListChanged())
        await asyncio.gather(*(session.send_tool_list_changed() for session in SESSIONS))
    if tool.get("publishes") == "prompts":
        await BUS.publish(PromptsListChanged())
        await asyncio.gather(*(session.send_prompt_list_changed() for session in SESSIONS))


def offered(offers: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in offers:
        raise MCPError(code=INVALID_PARAMS, message=f"There is no {name}")
    return offers[name]


def contents(uri: str, resource: dict[str, Any], values: dict[str, str]) -> ReadResourceResult:
    content = {key: filled(resource[key], values) for key in ("text", "blob") if key in resource}
    return ReadResourceResult.model_validate({"contents": [{"uri": uri, "mimeType": resource["mimeType"], **content}]})


def without_content(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key not in ("text", "blob")}


def filled(part: Any, values: dict[str, Any]) -> Any:
    """Each `{name}` in a text, however deep, becomes the value of that name."""
    if isinstance(part, str):
        return re.sub(r"\{(\w+)\}", lambda found: str(values.get(found[1], found[0])), part)
    if isinstance(part, list):
        return [filled(item, values) for item in part]
    if isinstance(part, dict):
        return {key: filled(item, values) for key, item in part.items()}
    return part


def as_before_the_newer_era(app: Any) -> Any:
    """The header with a version that the SDK would take for the newer era is not seen: its older half answers."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not speaks(scope, HANDSHAKE_PROTOCOL_VERSIONS):
            scope = {**scope, "headers": [each for each in scope["headers"] if each[0] != VERSION_HEADER]}
        await app(scope, receive, send)

    return serve


def as_after_the_older_era(app: Any) -> Any:
    """Says which versions there are to those who begin with a handshake."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not speaks(scope, [*HANDSHAKE_PROTOCOL_VERSIONS, None]):
            return await app(scope, receive, send)
        if scope["method"] != "POST":
            return await Response(status_code=405)(scope, receive, send)
        message = await Request(scope, receive).json()
        requested = message.get("params", {}).get("protocolVersion")
        data = {"supported": list(MODERN_PROTOCOL_VERSIONS), "requested": requested}
        error = {"code": UNSUPPORTED_VERSION, "message": "Unsupported protocol version", "data": data}
        answer = {"jsonrpc": "2.0", "id": message.get("id"), "error": error}
        await JSONResponse(answer, status_code=400)(scope, receive, send)

    return serve


def speaks(scope: Any, versions: Any) -> bool:
    headers = dict(scope["headers"])
    return (headers[VERSION_HEADER].decode() if VERSION_HEADER in headers else None) in versions


BUS = InMemorySubscriptionBus()
SESSIONS: list[Any] = []
VERSION_HEADER = b"mcp-protocol-version"

if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "both")
