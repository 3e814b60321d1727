"""Connects to the MCP server at a URL, lists its tools, calls one, and prints what came of it as JSON."""

import asyncio
import json
import sys

from mcp import Client


async def main(url: str, tool: str, arguments: str) -> None:
    async with Client(url) as client:
        tools = await client.list_tools()
        called = await client.call_tool(tool, json.loads(arguments))
        used = {
            "version": client.protocol_version,
            "tools": [tool.name for tool in tools.tools],
            "text": called.content[0].text,
        }
        print(json.dumps(used))


asyncio.run(main(*sys.argv[1:]))
