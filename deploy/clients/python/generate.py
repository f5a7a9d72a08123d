"""Writes holdd_client/api.py from ../openapi.json. It needs only the standard library.

Each schema becomes a TypedDict, because a dictionary keeps the fields that a later holdd adds. Each operation with a
JSON response becomes a method.
"""

import json
import keyword
import pathlib
import re
import sys
from typing import Any

HERE = pathlib.Path(__file__).parent
LINE_LENGTH = 120

HEADER = '''"""The types and operations of holdd's API. Written by generate.py: do not edit."""

from collections.abc import Mapping
from typing import Literal, NotRequired, TypedDict, cast
from urllib.parse import quote

from .transport import Transport

__all__ = ["Operations"]
'''


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.replace("-", "_")).lower()


def type_of(schema: dict[str, Any], quoted: bool = True) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f'"{name}"' if quoted else name
    if "enum" in schema:
        return "Literal[" + ", ".join(json.dumps(value) for value in schema["enum"]) + "]"
    kinds = schema.get("type")
    if isinstance(kinds, list):
        types = [type_of({**schema, "type": kind}, quoted) for kind in kinds if kind != "null"]
        return " | ".join(types + (["None"] if "null" in kinds else []))
    match kinds:
        case "string":
            return "str"
        case "integer":
            return "int"
        case "number":
            return "float"
        case "boolean":
            return "bool"
        case "array":
            return f"list[{type_of(schema['items'], quoted)}]"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"dict[str, {type_of(schema['additionalProperties'], quoted)}]"
        case _:
            return "Any"


def comment(text: str, indent: str) -> str:
    """Returns a text as comment lines, so that no quote of it can end a string."""
    lines, line = [], indent + "#"
    for word in text.split():
        if len(line) + 1 + len(word) > LINE_LENGTH:
            lines.append(line)
            line = indent + "#"
        line += " " + word
    return "\n".join([*lines, line]) + "\n" if text else ""


def write_schema(name: str, schema: dict[str, Any]) -> str:
    fields = {k: v for k, v in schema.get("properties", {}).items() if k != "$schema"}
    required = schema.get("required", [])

    def annotated(field: str) -> str:
        kind = type_of(fields[field])
        return kind if field in required else f"NotRequired[{kind}]"

    if any(keyword.iskeyword(field) for field in fields):
        pairs = "".join(f"        {json.dumps(f)}: {annotated(f)},\n" for f in sorted(fields))
        return f'\n\n{name} = TypedDict(\n    "{name}",\n    {{\n{pairs}    }},\n)\n'
    text = f"\n\nclass {name}(TypedDict):\n"
    for field in sorted(fields):
        text += comment(fields[field].get("description", ""), "    ")
        text += f"    {field}: {annotated(field)}\n"
    return text + ("" if fields else "    pass\n")


def write_operation(path: str, method: str, operation: dict[str, Any]) -> str:
    responses = operation["responses"]
    success = next((r for s, r in sorted(responses.items()) if s.startswith("2")), {})
    schema = success.get("content", {}).get("application/json", {}).get("schema")
    if schema is None:
        return ""
    result = type_of(schema, quoted=False)
    parameters = operation.get("parameters", [])
    positional = [p["name"] for p in parameters if p["in"] == "path"]
    arguments = ["self", *(f"{name}: str" for name in positional)]
    body = operation.get("requestBody")
    if body is not None:
        kind = type_of(body["content"]["application/json"]["schema"], quoted=False)
        arguments.append(f"body: {kind}" if body.get("required") else f"body: {kind} | None = None")
    named = [p for p in parameters if p["in"] != "path"]
    for p in sorted(named, key=lambda p: not p.get("required", False)):
        if arguments[-1] == "self" or "*" not in arguments:
            arguments.append("*")
        kind = "Mapping[str, str]" if p.get("style") == "deepObject" else type_of(p["schema"])
        default = "" if p.get("required") else " | None = None"
        arguments.append(f"{snake_case(p['name'])}: {kind}{default}")
    query = [p for p in named if p["in"] == "query"]
    headers = [p for p in named if p["in"] == "header"]
    template = re.sub(r"\{(\w+)\}", r"{quote(\1, safe='')}", path)
    lines = [f"    def {snake_case(operation['operationId'])}("]
    lines += [f"        {argument}," for argument in arguments]
    lines.append(f"    ) -> {result}:")
    text = "\n".join(lines) + "\n"
    text += comment(operation["summary"] + ". " + operation.get("description", ""), "        ")
    text += f"        return cast(\n            {result},\n            self._transport.send(\n"
    text += f'                "{method.upper()}",\n                {"f" if positional else ""}"{template}",\n'
    for label, group in (("query", query), ("headers", headers)):
        if group:
            pairs = ", ".join(f'"{p["name"]}": {snake_case(p["name"])}' for p in group)
            text += f"                {label}={{{pairs}}},\n"
    if body is not None:
        text += "                body=body,\n"
    return text + "            ),\n        )\n\n"


def generate(document: dict[str, Any]) -> str:
    text = HEADER
    for name, schema in sorted(document["components"]["schemas"].items()):
        text += write_schema(name, schema)
    text += "\n\nclass Operations:\n"
    text += '    """The operations of the API. Errors are HolddError and UnreachableError."""\n\n'
    text += "    def __init__(self, transport: Transport) -> None:\n        self._transport = transport\n\n"
    for path, item in sorted(document["paths"].items()):
        for method, operation in sorted(item.items()):
            text += write_operation(path, method, operation)
    return "\n".join(wrap(line) for line in text.rstrip().split("\n")) + "\n"


def wrap(line: str) -> str:
    """Breaks a line after a comma. Long lines are inside of brackets, so that Python reads on."""
    if len(line) <= LINE_LENGTH:
        return line
    at = line.rindex(", ", 0, LINE_LENGTH) + 1
    indent = " " * (len(line) - len(line.lstrip()) + (0 if line.startswith("            ") else 4))
    return line[:at] + "\n" + wrap(indent + line[at:].lstrip())


def main() -> None:
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "holdd_client" / "api.py"
    document = json.loads((HERE.parent / "openapi.json").read_text())
    target.write_text(generate(document))


if __name__ == "__main__":
    main()
