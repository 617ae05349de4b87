"""How an HTTP answer leaves: as it should, or spoilt in the way that is scripted."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from http import HTTPStatus
from typing import cast

from aiohttp import web

from .faults import Scripted


async def reply(request: web.Request, script: Scripted, status: int, payload: dict[str, object]) -> web.StreamResponse:
    """payload: the JSON of a proper answer. status: its HTTP status."""
    if script.reset:
        reset(request.transport)
        return web.Response(status=HTTPStatus.NO_CONTENT)
    if script.task_id is not None:
        payload = payload | {"task_id": script.task_id}
    body = json.dumps(payload, ensure_ascii=False).encode() if script.body is None else script.body.encode()
    content_type = "application/json" if script.body is None else script.content_type
    if script.http_status is not None:
        status = script.http_status
    if script.cut is None:
        return web.Response(status=status, body=body, content_type=content_type)
    return await _cut_short(request, script.cut, web.StreamResponse(status=status, headers={"Content-Type": content_type}), body)


async def _cut_short(request: web.Request, count: int, response: web.StreamResponse, body: bytes) -> web.StreamResponse:
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[:count])
    if request.transport is not None:
        request.transport.close()  # not a reset: what was written has to arrive
    return response


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Ends a connection with a TCP reset in place of a proper end."""
    if transport is None:
        return
    if (sock := transport.get_extra_info("socket")) is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    cast(asyncio.WriteTransport, transport).abort()  # uvloop's transports have it too, though not by inheritance
