"""Makes calls over HTTP+SSE, and prints what came of them as JSON."""

import asyncio
import json
import sys

from mcp import ClientSession, types
from mcp.client.sse import sse_client


async def elicit(context, params) -> types.ElicitResult:
    return types.ElicitResult(action="accept", content={"name": "Alice"})


async def sample(context, params) -> types.CreateMessageResult:
    content = types.TextContent(type="text", text="a sample")
    return types.CreateMessageResult(role="assistant", model="none", content=content)


async def main(url: str, key: str, calls: str) -> None:
    texts, told = [], []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append(done)

    async with sse_client(url, headers={"Authorization": f"Bearer {key}"}) as (read, write):
        async with ClientSession(read, write, elicitation_callback=elicit, sampling_callback=sample) as session:
            await session.initialize()
            tools = [tool.name for tool in (await session.list_tools()).tools]
            for name, given in json.loads(calls):
                hears = progress if name.endswith("_progress") else None
                called = await session.call_tool(name, given, progress_callback=hears)
                texts.append(called.content[0].text)
    print(json.dumps({"tools": tools, "texts": texts, "progress": told}))


asyncio.run(main(*sys.argv[1:]))
