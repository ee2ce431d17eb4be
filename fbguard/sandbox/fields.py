"""The ``fields`` parameter: which facts of a node an answer holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fbguard.sandbox.errors import no_such_field
from fbguard.sandbox.wire import Reply, Request, json_reply

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def answer_with(node: Mapping[str, str], kind: str, request: Request, untold: Collection[str] = ()) -> Reply:
    """Answer with the fields asked for, or all; ``id`` comes with every answer, as on any node of Graph.

    ``untold`` are fields that nodes of this kind have and this one does not: Graph leaves such out,
    as it does when a permission is missing.
    """
    asked = [field.strip() for field in (request.param("fields") or "").split(",") if field.strip()]
    if not asked:
        return json_reply(node)
    for field in asked:
        if field not in node and field not in untold:
            raise no_such_field(field, kind)
    return json_reply({field: node[field] for field in asked if field in node} | {"id": node["id"]})
