"""The published schema of the API: OpenAPI 3.1. Data."""

from __future__ import annotations

from typing import Any, Final

from localr1 import __version__
from localr1.server import asked

_Schema = dict[str, Any]


def _maybe(kind: str, **rest: object) -> _Schema:
    return {"type": [kind, "null"], **rest}


def _named(name: str) -> _Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: _Schema, required: tuple[str, ...] | None = None) -> _Schema:
    needed = list(properties if required is None else required)
    return {"type": "object", "properties": properties, "required": needed}


def _json(schema: _Schema, description: str = "The answer.") -> _Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_WHOLE_USAGE: Final = {"type": "integer", "minimum": 0}
_STOP: Final = {"type": "string", "minLength": 1, "maxLength": asked.MOST_STOP_CHARACTERS}
_WISHES: Final[_Schema] = {
    "model": _maybe("string", description="Empty for the one that is served."),
    "stream": _maybe("boolean"),
    "stream_options": _maybe("object", properties={"include_usage": _maybe("boolean")}),
    "max_tokens": _maybe("integer", minimum=1, maximum=asked.MOST_TOKENS),
    "max_completion_tokens": _maybe("integer", minimum=1, maximum=asked.MOST_TOKENS),
    "temperature": _maybe("number", minimum=0, maximum=2),
    "top_p": _maybe("number", minimum=0, maximum=1),
    "top_k": _maybe("integer", minimum=1, maximum=1000),
    "min_p": _maybe("number", minimum=0, maximum=1),
    "seed": _maybe("integer", minimum=asked.SEEDS[0], maximum=asked.SEEDS[1]),
    "stop": {
        "description": "Texts at which the answer ends; the thinking may hold them.",
        "anyOf": [
            {"type": "null"},
            {**_STOP},
            {"type": "array", "items": _STOP, "maxItems": asked.MOST_STOPS},
        ],
    },
    "user": _maybe("string", description="Turns go round among users."),
    "n": {"enum": [1, None]},
}
_TEXT_PART: Final = _object({"type": {"const": "text"}, "text": {"type": "string"}})
_SCHEMAS: Final[_Schema] = {
    "Message": _object(
        {
            "role": {"enum": ["system", "developer", "user", "assistant"]},
            "content": {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": _TEXT_PART, "minItems": 1},
                ]
            },
        }
    ),
    "ChatRequest": _object(
        {
            **_WISHES,
            "messages": {
                "type": "array",
                "items": _named("Message"),
                "minItems": 1,
            },
            "response_format": _maybe(
                "object",
                properties={"type": {"enum": ["text", "json_object"]}},
                required=["type"],
                description="Also `json_schema`, with a `json_schema` that has a `schema`.",
            ),
            "reasoning_effort": {
                "enum": [*asked.EFFORTS, None],
                "description": "`none`: no thinking; otherwise the model thinks as it does.",
            },
            "thinking_budget_tokens": _maybe("integer", minimum=0, maximum=asked.MOST_TOKENS),
        },
        ("messages",),
    ),
    "CompletionRequest": _object({**_WISHES, "prompt": {"type": "string"}}, ("prompt",)),
    "Usage": _object(
        {
            "prompt_tokens": _WHOLE_USAGE,
            "completion_tokens": _WHOLE_USAGE,
            "total_tokens": _WHOLE_USAGE,
            "prompt_tokens_details": _object({"cached_tokens": _WHOLE_USAGE}),
            "completion_tokens_details": _object({"reasoning_tokens": _WHOLE_USAGE}),
        }
    ),
    "ChatCompletion": _object(
        {
            "id": {"type": "string"},
            "object": {"const": "chat.completion"},
            "created": {"type": "integer"},
            "model": {"type": "string"},
            "choices": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": _object(
                    {
                        "index": {"const": 0},
                        "message": _object(
                            {
                                "role": {"const": "assistant"},
                                "content": {"type": "string"},
                                "reasoning_content": _maybe("string"),
                            }
                        ),
                        "finish_reason": {"enum": ["stop", "length"]},
                    }
                ),
            },
            "usage": _named("Usage"),
        }
    ),
    "Completion": _object(
        {
            "id": {"type": "string"},
            "object": {"const": "text_completion"},
            "created": {"type": "integer"},
            "model": {"type": "string"},
            "choices": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": _object(
                    {
                        "index": {"const": 0},
                        "text": {"type": "string"},
                        "finish_reason": {"enum": ["stop", "length"]},
                    }
                ),
            },
            "usage": _named("Usage"),
        }
    ),
    "Model": _object(
        {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": {"const": "localr1"},
            "max_model_len": {"type": "integer"},
        }
    ),
    "Error": _object(
        {
            "error": _object(
                {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": _maybe("string"),
                    "code": _maybe("string"),
                }
            )
        }
    ),
}


def _refused(*statuses: int) -> _Schema:
    return {str(status): _json(_named("Error"), "Refused.") for status in statuses}


def _asking(request: str, answer: str) -> _Schema:
    stream = {"text/event-stream": {"schema": _object({"data": {"type": "string"}})}}
    answered = _json(_named(answer), "The answer; a stream of events with `stream`.")
    answered["content"].update(stream)
    return {
        "post": {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _named(request)}},
            },
            "responses": {
                "200": answered,
                **_refused(400, 401, 403, 404, 408, 413, 415, 429, 500),
            },
        }
    }


SCHEMA: Final[_Schema] = {
    "openapi": "3.1.0",
    "info": {"title": "localr1", "version": __version__},
    "components": {
        "schemas": _SCHEMAS,
        "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
    },
    "security": [{}, {"key": []}],
    "paths": {
        "/health": {
            "get": {
                "responses": {
                    status: _json(_object({"status": {"type": "string"}}))
                    for status in ("200", "503")
                }
            }
        },
        "/metrics": {
            "get": {
                "responses": {
                    "200": {
                        "description": "Figures for Prometheus.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    },
                    **_refused(401, 403),
                }
            }
        },
        "/v1/models": {
            "get": {
                "responses": {
                    "200": _json(
                        _object(
                            {
                                "object": {"const": "list"},
                                "data": {"type": "array", "items": _named("Model")},
                            }
                        )
                    ),
                    **_refused(401, 403),
                }
            }
        },
        "/v1/models/{name}": {
            "get": {
                "parameters": [
                    {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "responses": {"200": _json(_named("Model")), **_refused(401, 403, 404)},
            }
        },
        "/v1/chat/completions": _asking("ChatRequest", "ChatCompletion"),
        "/v1/completions": _asking("CompletionRequest", "Completion"),
    },
}
