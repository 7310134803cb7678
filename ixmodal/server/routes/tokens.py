"""Tokens: `POST /tokenize`, `POST /detokenize`, `POST /apply-template`, `GET /tokenizer_info`."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from ixmodal.engine.request import ChatPrompt, ModelInfo, TextPrompt, TokenPrompt
from ixmodal.models.tool_calls import choose_format
from ixmodal.server.errors import field_error
from ixmodal.server.json import JSONResponse
from ixmodal.server.openapi.operation import ENGINE, Described, Operation
from ixmodal.server.protocol.body import Body
from ixmodal.server.protocol.messages import Messages
from ixmodal.server.protocol.objects.tokens import PromptText, TokenizerInfo, Tokens
from ixmodal.server.protocol.responses.listing import query_of
from ixmodal.server.protocol.tools import MAX_TOOLS, Tool
from ixmodal.server.routes.common import model_of, parse, runtime_of


class TokenizeRequest(Body):
    """A text, or a conversation."""

    model: str | None = None
    prompt: str | None = None
    messages: Messages | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    return_token_strs: bool | None = None
    add_special_tokens: bool | None = None
    """False leaves the BOS out; the text of the BOS or EOS alone then asks for that token's id."""

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise field_error("prompt", "either it or 'messages' is needed, not both")
        if self.tools and self.messages is None:
            raise field_error("tools", "they belong to 'messages'")
        if self.add_special_tokens is not None and self.messages is not None:
            raise field_error("add_special_tokens", "it belongs to 'prompt'; the template writes a conversation's own")
        return self

    def to_prompt(self, model: ModelInfo) -> TextPrompt | TokenPrompt | ChatPrompt:
        """For the engine; a conversation as chat would show it to this model."""
        if self.messages is None:
            text, bare = self.prompt or "", self.add_special_tokens is False
            if bare and text in (model.bos_token, model.eos_token) and text in model.control_ids:
                return TokenPrompt([model.control_ids[text]])
            return TextPrompt(text, add_bos=not bare)
        messages = [message.to_template() for message in self.messages]
        tools = [tool.to_template() for tool in self.tools or ()]
        return ChatPrompt(*choose_format(model.chat_template).adapt(messages, tools))


class DetokenizeRequest(Body):
    """Token ids."""

    model: str | None = None
    tokens: list[int] = Field(max_length=1_048_576)


class ModelQuery(Body):
    """The query of `GET /tokenizer_info`."""

    model_config = ConfigDict(strict=False)
    model: str | None = None


async def tokenize(request: Request) -> Response:
    """The tokens of a text, BOS included, or of a conversation through the model's template."""
    body = await parse(request, TokenizeRequest)
    engine = model_of(request, body.model or _first(request)).engine
    model = await engine.describe()
    encoded = await engine.encode(body.to_prompt(model))
    content: dict[str, Any] = {
        "tokens": encoded.tokens,
        "count": len(encoded.tokens),
        "max_model_len": model.context_length,
    }
    if body.return_token_strs:
        content["token_strs"] = [piece.decode("utf-8", "replace") for piece in encoded.pieces]
    return JSONResponse(content)


async def detokenize(request: Request) -> Response:
    """The text of token ids."""
    body = await parse(request, DetokenizeRequest)
    engine = model_of(request, body.model or _first(request)).engine
    return JSONResponse({"prompt": await engine.decode(body.tokens)})


async def apply_template(request: Request) -> Response:
    """A conversation as the prompt that the model reads, control tokens spelled out."""
    body = await parse(request, TokenizeRequest)
    engine = model_of(request, body.model or _first(request)).engine
    model = await engine.describe()
    return JSONResponse({"prompt": (await engine.encode(body.to_prompt(model))).text})


async def tokenizer_info(request: Request) -> Response:
    """What is known of the model's vocabulary and template."""
    name = query_of(request, ModelQuery).model or _first(request)
    model = await model_of(request, name).engine.describe()
    return JSONResponse(
        {
            "tokenizer_class": "sentencepiece",
            "vocab_size": model.vocabulary_size,
            "context_length": model.context_length,
            "chat_template": model.chat_template,
            "bos_token": model.bos_token,
            "eos_token": model.eos_token,
        }
    )


def _first(request: Request) -> str:
    """These routes are for looking: without a model they mean the default (of an agent, its model), or the first."""
    spec = runtime_of(request).spec
    models_of_agents = {agent.id: agent.model for agent in spec.agents}
    default = spec.default_model or spec.models[0].id
    return models_of_agents.get(default, default)


ROUTES = [
    Described(
        "/tokenize",
        tokenize,
        Operation("tokenize", "POST", "A prompt as tokens.", Tokens, body=TokenizeRequest, errors=ENGINE),
    ),
    Described(
        "/detokenize",
        detokenize,
        Operation("detokenize", "POST", "Tokens as text.", PromptText, body=DetokenizeRequest, errors=ENGINE),
    ),
    Described(
        "/apply-template",
        apply_template,
        Operation("applyTemplate", "POST", "The prompt read.", PromptText, body=TokenizeRequest, errors=ENGINE),
    ),
    Described(
        "/tokenizer_info",
        tokenizer_info,
        Operation("getTokenizerInfo", "GET", "The vocabulary.", TokenizerInfo, query=ModelQuery, errors=ENGINE),
    ),
]
