"""The client that most people would write: aiohttp, one task a stream, a time a line.

bench_client_aiohttp.py PORT STREAMS TOKENS REQUESTS: prints one JSON line a request, `user sent times…`,
and its processor time last.
"""

import asyncio
import json
import sys
import time

import aiohttp


async def one(session, url, user, tokens, out):
    body = {"model": "m", "messages": [{"role": "user", "content": "How much is it?"}], "max_tokens": tokens,
            "stream": True, "stream_options": {"include_usage": True}, "user": str(user)}
    sent = time.monotonic_ns()
    times = []
    async with session.post(url, json=body) as response:
        async for line in response.content:
            now = time.monotonic_ns()
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            chunk = json.loads(line[6:])
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                times.append(now)
    out.append((user, sent, times))


async def main(port, streams, tokens, requests):
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    todo, out = list(range(requests))[::-1], []

    async def worker(session):
        while todo:
            await one(session, url, todo.pop(), tokens, out)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        cpu, started = time.process_time_ns(), time.monotonic_ns()
        await asyncio.gather(*(worker(session) for _ in range(streams)))
        took, cpu = time.monotonic_ns() - started, time.process_time_ns() - cpu
    json.dump({"requests": out, "cpu_ns": cpu, "took_ns": took}, sys.stdout)


asyncio.run(main(*map(int, sys.argv[1:])))
