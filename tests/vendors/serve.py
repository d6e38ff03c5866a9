"""The fake vendors as processes of their own, for `patchbay call` and `patchbay check --live` by hand.

    python -m tests.vendors.serve openai-chat=8181 deepgram=8182
    python -m tests.vendors.serve examples/vendors.yaml

Each by its type and port on loopback; the names are those of the contract's cases. Of a configuration, one for each
provider whose endpoint is on this machine. Prints where each is and the one
key that they take, and what a client did that the vendor would not have allowed. Ends with Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from urllib.parse import urlsplit

import yaml

from tests.vendors.contract import VendorCase, cases
from tests.vendors.server import KEY, FakeVendor

__all__ = ["main", "of_file"]

_LOOK_S = 0.5


async def serve(wanted: list[tuple[VendorCase, int]]) -> None:
    """Until the process is told to end."""
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    async with contextlib.AsyncExitStack() as stack:
        vendors: list[FakeVendor] = []
        for case, port in wanted:
            vendor = case.fake()
            vendor.port = port
            vendors.append(await stack.enter_async_context(vendor))
            url = vendor.ws_url if case.by == "socket" else vendor.http_url
            print(f"{case.name}  {url}{case.prefix}", flush=True)
        print(f"key  {KEY}", flush=True)
        while not over.is_set():
            for vendor in vendors:
                for text in vendor.violations:
                    print(f"{type(vendor).__name__}: {text}", flush=True)
                vendor.violations.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _LOOK_S)


def of_file(path: str) -> list[tuple[VendorCase, int]]:
    """The fakes that a configuration wants, and their ports."""
    by_type = {case.type: case for case in reversed(cases())}
    with open(path, encoding="utf-8") as file:
        providers = yaml.safe_load(file)["providers"].values()
    places = [(p["type"], urlsplit(url)) for p in providers for url in p.get("endpoints", {}).values()]
    return [(by_type[kind], url.port) for kind, url in places if url.hostname == "127.0.0.1" and url.port]


def main(arguments: list[str]) -> int:
    known = {case.name: case for case in cases()}
    wanted = []
    for argument in arguments:
        if argument.endswith(".yaml"):
            wanted += of_file(argument)
            continue
        name, _, port = argument.partition("=")
        if name not in known or not port.isdigit():
            print(f"{argument}: NAME=PORT is wanted, of {', '.join(sorted(known))}", file=sys.stderr)
            return 2
        wanted.append((known[name], int(port)))
    if not wanted:
        print(f"NAME=PORT ..., of {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    asyncio.run(serve(wanted))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
