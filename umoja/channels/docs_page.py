"""The page `/docs`: the OpenAPI document as a person reads it. Made on the server, once, no script."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from umoja.channels.docs_openapi import Sample
from umoja.channels.native_call import JSON
from umoja.channels.problems import KINDS, MEDIA_TYPE
from umoja.channels.tokens import FORM

STATIC = Path(__file__).parent / "static"
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field or parameter of a table."""

    name: str
    kind: str
    is_needed: bool
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One line of a table of errors."""

    status: str
    type: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One operation, as the page shows it."""

    id: str
    method: str
    path: str
    title: str
    about: str
    scope: str
    parameters: list[Row]
    body: list[Row]
    curl: str
    status: str
    answer: str
    refusals: list[Refusal]


def page(document: Json, sample: Sample, *, is_sandbox: bool) -> str:
    """Return the page as HTML. Everything in it is escaped and comes from the document."""
    environment = Environment(
        loader=FileSystemLoader(STATIC),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = _words
    groups: dict[str, list[Section]] = {tag["name"]: [] for tag in document["tags"]}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            section = _section(document, path, method.upper(), operation)
            groups[operation["tags"][0]].append(section)
    return environment.get_template("docs.html").render(
        info=document["info"],
        groups=groups,
        scopes=document["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"][
            "scopes"
        ],
        problems=sorted(KINDS.values(), key=lambda kind: (kind.status, kind.word)),
        token_curl=_SIGN_IN.format(id=f"{sample.market.lower()}-…"),
        shapes=_shapes(document),
        is_sandbox=is_sandbox,
    )


_SIGN_IN = """\
TOKEN=$(curl -s -u '{id}:YOUR-SECRET' \\
  -d grant_type=client_credentials \\
  "$HOST/oauth2/token" | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')"""


def _section(document: Json, path: str, method: str, operation: Json) -> Section:
    status, good = next(
        (code, each) for code, each in operation["responses"].items() if code.startswith("2")
    )
    answer = ""
    for content in good.get("content", {}).values():
        for example in content.get("examples", {}).values():
            answer = json.dumps(example["value"], indent=2, ensure_ascii=False)
    security = operation.get("security") or [{}]
    scopes = security[0].get("oauth2")
    return Section(
        id=operation["operationId"],
        method=method,
        path=path,
        title=operation["summary"],
        about=operation.get("description", ""),
        scope="no token" if scopes is None else " ".join(scopes) or "any token",
        parameters=[
            Row(
                name=each["name"],
                kind=f"{each['in']}: {_kind(each['schema'])}",
                is_needed=each["required"],
                about=each.get("description", ""),
            )
            for each in operation.get("parameters", [])
        ],
        body=_body_rows(document, operation),
        curl=_curl(path, method, operation, has_token=scopes is not None),
        status=status,
        answer=answer,
        refusals=_refusals(operation),
    )


def _body_rows(document: Json, operation: Json) -> list[Row]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        return _rows(document, _looked_up(document, content["schema"]))
    return []


def _rows(document: Json, shape: Json) -> list[Row]:
    needed = shape.get("required", [])
    return [
        Row(
            name=name,
            kind=_kind(schema),
            is_needed=name in needed,
            about=_about(document, schema),
        )
        for name, schema in shape.get("properties", {}).items()
    ]


def _about(document: Json, schema: Json) -> str:
    """Return what is said of a field, or of what it may be beside null."""
    for each in (schema, *schema.get("anyOf", [])):
        about = str(_looked_up(document, each).get("description", ""))
        if about:
            return about.split("\n", maxsplit=1)[0]
    return ""


def _looked_up(document: Json, schema: Json) -> Json:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: Json = document["components"]["schemas"].get(name, schema)
    return found


def _kind(schema: Json) -> str:
    """Return a schema in few words: its type and what bounds it."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(str(each) for each in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"by name: {_kind(schema['additionalProperties'])}"
    bounds = [
        f"{word} {schema[name]}"
        for name, word in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("minLength", "at least"),
            ("maxLength", "at most"),
            ("pattern", "like"),
        )
        if name in schema
    ]
    if "default" in schema and schema["default"] not in {"", None}:
        bounds.append(f"else {json.dumps(schema['default'])}")
    return ", ".join([str(schema.get("type", "anything")), *bounds])


def _refusals(operation: Json) -> list[Refusal]:
    found = []
    for status, response in operation["responses"].items():
        for media, content in response.get("content", {}).items():
            if status.startswith("2"):
                continue
            for word, example in content["examples"].items():
                is_problem = media == MEDIA_TYPE
                title = example["value"]["title"] if is_problem else response["description"]
                found.append(Refusal(status=status, type=word, title=title))
    return found


def _curl(path: str, method: str, operation: Json, *, has_token: bool) -> str:
    """Return a command line that makes the example's request."""
    place = path.replace("{party}", "1000")
    place = place.replace("{payment}", "$PAYMENT").replace("{webhook}", "$WEBHOOK")
    lines = [
        f'curl -s -X {method} "$HOST{place}"' if method != "GET" else f'curl -s "$HOST{place}"'
    ]
    if has_token:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", [])):
        lines.append('-H "Idempotency-Key: $(date +%s%N)"')
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        example = next(iter(content["examples"].values()))["value"]
        if media == JSON:
            lines.append(f"-H 'Content-Type: {JSON}'")
            lines.append(f"-d '{json.dumps(example, ensure_ascii=False)}'")
        elif media == FORM:
            lines += [f"-d {name}={value}" for name, value in example.items()]
    return " \\\n  ".join(lines)


def _shapes(document: Json) -> list[tuple[str, str, list[Row]]]:
    """Return the shapes that answers are made of: name, what it is, fields."""
    return [
        (name, shape.get("description", "").split("\n")[0], _rows(document, shape))
        for name, shape in document["components"]["schemas"].items()
    ]


def _words(text: str) -> Markup:
    """Return a text of the document as HTML: paragraphs, lists, bold and code, all else escaped."""
    blocks = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        if all(line.startswith("- ") for line in lines):
            items = Markup("").join(
                Markup("<li>{}</li>").format(_inline(line[2:])) for line in lines
            )
            blocks.append(Markup("<ul>{}</ul>").format(items))
        else:
            blocks.append(Markup("<p>{}</p>").format(_inline(" ".join(lines))))
    return Markup("\n").join(blocks)


def _inline(text: str) -> Markup:
    parts = []
    for place, part in enumerate(text.split("`")):
        if place % 2:
            parts.append(Markup("<code>{}</code>").format(part))
            continue
        for bold, piece in enumerate(part.split("**")):
            parts.append(Markup("<strong>{}</strong>").format(piece) if bold % 2 else escape(piece))
    return Markup("").join(parts)
