"""Where Alibaba Cloud's gateways and token services are: one row a region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Region:
    """A region's hosts. internal: reachable from a VPC of that region only, and speaks no TLS. meta: region of the token service."""

    gateway: str
    internal: str | None
    token: str
    meta: str

    def gateway_url(self, network: str) -> str | None:
        """The base of every recognition call; None where the region has no such network."""
        if network == "public":
            return f"https://{self.gateway}"
        return f"http://{self.internal}" if self.internal else None

    @property
    def token_url(self) -> str:
        return f"https://{self.token}"


_SHANGHAI_TOKENS: Final = "nls-meta.cn-shanghai.aliyuncs.com"


def _mainland(name: str) -> Region:
    # Tokens are made in Shanghai for the whole mainland: the vendor names no other service there.
    gateway = f"nls-gateway-{name}"
    return Region(f"{gateway}.aliyuncs.com", f"{gateway}-internal.aliyuncs.com", _SHANGHAI_TOKENS, "cn-shanghai")


REGIONS: Final[Mapping[str, Region]] = MappingProxyType(
    {
        "cn-shanghai": _mainland("cn-shanghai"),
        "cn-beijing": _mainland("cn-beijing"),
        "cn-shenzhen": _mainland("cn-shenzhen"),
        "nearest": Region("nls-gateway.aliyuncs.com", None, _SHANGHAI_TOKENS, "cn-shanghai"),
        "ap-southeast-1": Region("nls-gateway-ap-southeast-1.aliyuncs.com", None, "nlsmeta.ap-southeast-1.aliyuncs.com", "ap-southeast-1"),
    }
)
