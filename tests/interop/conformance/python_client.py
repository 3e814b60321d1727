"""What can a client on the Python SDK do at the MCP server of a URL?

`python python_client.py URL CALLS`, where CALLS is a JSON list of `[tool, arguments]`. Prints as JSON the version that
was agreed on, the names of the tools, what came of each call, and all progress that was heard of.
"""

import asyncio
import json
import sys
from typing import Any

from mcp import Client
from mcp.types import ElicitResult


async def main(url: str, calls: str) -> None:
    progress: list[float] = []

    async def hear(told: float, total: float | None, message: str | None) -> None:
        progress.append(told)

    async def say_name(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Alice"})

    async with Client(url, elicitation_callback=say_name) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        results = [await client.call_tool(*call, progress_callback=hear) for call in json.loads(calls)]
        texts = [result.content[0].text for result in results]
        print(json.dumps({"version": client.protocol_version, "tools": tools, "texts": texts, "progress": progress}))


asyncio.run(main(*sys.argv[1:]))
