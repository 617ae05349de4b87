"""The openai provider keeps every promise of the conformance kit, against a server over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from asrproxy.testing.conformance import ProviderConformance, Vendor
from asrproxy_openai.provider import OpenAIProvider
from tests.openai_provider.openai_server import KEY, OpenAIServer


class TestWithWords(ProviderConformance):
    provider = OpenAIProvider
    type_name = "openai"

    @asynccontextmanager
    async def vendor(self) -> AsyncIterator[Vendor]:
        async with OpenAIServer().running() as server:
            yield server

    def settings(self, vendor: Vendor) -> Mapping[str, object]:
        assert isinstance(vendor, OpenAIServer)
        return {"base_url": vendor.url, "api_key": KEY, "headers": {"X-Team": "also-a-secret"}, **self.answers}

    answers: Mapping[str, object] = {"response_format": "verbose_json", "words": True, "languages": ["zh", "en"]}


class TestWithPlainText(TestWithWords):
    answers: Mapping[str, object] = {"sample_rate": 8000}
