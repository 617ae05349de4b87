"""The measure for the sidecar's cost: the least that an aiohttp program can do to pass a recording on to NLS and the answer back."""

from __future__ import annotations

import argparse

from aiohttp import ClientSession, TCPConnector, web

from bench.running import APPKEY, KEY_ID, KEY_SECRET


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--gateway", required=True)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--token")
    arguments = parser.parse_args()
    url = f"{arguments.gateway}/stream/v1/asr?appkey={APPKEY}&format=wav&sample_rate=16000"

    async def upstream(app: web.Application):  # type: ignore[no-untyped-def]
        app["token"] = arguments.token or token(arguments.gateway)
        app["session"] = ClientSession(connector=TCPConnector(limit=256))
        yield
        await app["session"].close()

    async def forward(request: web.Request) -> web.Response:
        body = await request.read()
        async with request.app["session"].post(url, data=body, headers={"X-NLS-Token": request.app["token"]}) as answer:
            return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")

    async def livez(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(client_max_size=2**30)
    app.cleanup_ctx.append(upstream)
    app.router.add_post("/v1/recognize", forward)
    app.router.add_get("/livez", livez)
    loop = None
    if arguments.uvloop:
        import uvloop

        loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=arguments.port, access_log=None, print=None, loop=loop)


def token(gateway: str) -> str:
    import json

    from aliyunsdkcore.client import AcsClient
    from aliyunsdkcore.request import CommonRequest

    request = CommonRequest()
    request.set_method("POST")
    request.set_domain(gateway.removeprefix("http://"))
    request.set_version("2019-02-28")
    request.set_action_name("CreateToken")
    answer = AcsClient(KEY_ID, KEY_SECRET, "cn-shanghai").do_action_with_exception(request)
    return str(json.loads(answer)["Token"]["Id"])


if __name__ == "__main__":
    main()
