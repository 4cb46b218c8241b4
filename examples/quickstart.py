"""The library alone: a shopping cart that survives this program. Run it twice.

python examples/quickstart.py [FILE]
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from holdfast import Draft, NotFound, SessionManager

CART_ID = "ada"


def add_tea(draft: Draft[dict[str, Any]]) -> Draft[dict[str, Any]]:
    """Put one more packet of tea into the cart."""
    draft.metadata["items"].append("tea")
    return draft


async def main(path: str) -> None:
    async with SessionManager[dict[str, Any]].open(f"sqlite:///{path}") as sessions:
        try:
            cart = await sessions.get(CART_ID)
            print(f"found the cart with {len(cart.metadata['items'])} items")
        except NotFound:
            cart = await sessions.create({"items": []}, id=CART_ID, timeout=3600, tags=["cart"])
            print("a new cart; it is gone an hour after its last use")

        # Atomic: a hundred at once, from any number of tasks and processes, are a hundred.
        await asyncio.gather(*(sessions.update(cart.id, add_tea) for _ in range(100)))
        cart = await sessions.get(cart.id)
        print(f"now {len(cart.metadata['items'])} items in version {cart.version}")

        async for each in sessions.scan(tag="cart"):
            print(f"there is {each}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "quickstart.db"))
