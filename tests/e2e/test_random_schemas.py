"""500 random JSON schemas against the shipped model: every answer that was not cut validates."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jsonschema

from tests.support.server import Server

SCHEMAS = 500
KEYS = ("name", "größe", "你好", "a b", "n", "items", 'quo"te')


def schema(rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """A schema of bounded size, of the kinds that people write."""
    kinds = ["integer", "number", "string", "boolean", "null", "enum", "const", "pattern"]
    kind = rng.choice([*kinds, "object", "object", "array", "anyOf"] if depth < 3 else kinds)
    match kind:
        case "integer":
            low = rng.randint(-1000, 1000)
            return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 1000)}
        case "number":
            return {"type": "number", "minimum": 0, "maximum": rng.randint(1, 100)}
        case "string":
            return {"type": "string", "minLength": rng.randint(0, 3), "maxLength": rng.randint(3, 12)}
        case "enum":
            return {"enum": rng.sample(["red", "é", 1, -2.5, None, True, "😀"], rng.randint(1, 4))}
        case "const":
            return {"const": rng.choice(["fixed", 7, None, {"a": [1, 2]}, "多"])}
        case "pattern":
            return {"type": "string", "pattern": rng.choice(["^[a-z]{1,5}$", "^(ab|cd)+x{2}$", "^[0-9]{4}-[0-9]{2}$"])}
        case "object":
            return _object(rng, depth)
        case "array":
            least = rng.randint(0, 2)
            most = least + rng.randint(0, 2)
            return {"type": "array", "items": schema(rng, depth + 1), "minItems": least, "maxItems": most}
        case "anyOf":
            return {"anyOf": [schema(rng, depth + 1) for _ in range(rng.randint(1, 3))]}
        case other:
            return {"type": other}


def _object(rng: random.Random, depth: int) -> dict[str, Any]:
    keys = rng.sample(KEYS, rng.randint(0, 3))
    return {
        "type": "object",
        "properties": {key: schema(rng, depth + 1) for key in keys},
        "required": [key for key in keys if rng.random() < 0.7],
        "additionalProperties": False,
    }


def test_every_completed_answer_validates(demo: Server) -> None:
    rng = random.Random(20)
    schemas = [schema(rng) for _ in range(SCHEMAS)]

    def answer(item: tuple[int, dict[str, Any]]) -> bool:
        seed, wanted = item
        body = {
            "model": "demo",
            "messages": [{"role": "user", "content": "Hello"}],
            "seed": seed,
            "temperature": 1.5,
            "max_tokens": 200,
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": wanted}},
        }
        response = httpx.post(f"{demo.url}/v1/chat/completions", json=body, timeout=60)
        assert response.status_code == 200, (wanted, response.text)
        choice = response.json()["choices"][0]
        if choice["finish_reason"] == "length":
            return False
        jsonschema.validate(json.loads(choice["message"]["content"]), wanted)
        return True

    with ThreadPoolExecutor(4) as pool:
        completed = sum(pool.map(answer, enumerate(schemas)))
    assert completed > 0.9 * SCHEMAS
