"""Fields that chat and text completions share, and how each becomes a sampling parameter."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from pydantic import BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from ixmodal.engine.request import SamplingParams
from ixmodal.server.errors import HTTPError, field_error
from ixmodal.server.protocol.body import Body
from ixmodal.server.protocol.constraints import MAX_GRAMMAR, to_constraint
from ixmodal.spec import Limits


def _one_is_a_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_ID_PATTERN = "^(0|[1-9][0-9]{0,9})$"


def _token_ids(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if not all(re.fullmatch(_ID_PATTERN, key) for key in value):
        raise ValueError("its keys must be token ids")
    return {int(key): bias for key, bias in value.items()}


def _no_truth_value(value: Any) -> Any:
    """Of a `Literal` of numbers, `false` and `true` would pass as 0 and 1."""
    if isinstance(value, bool):
        raise ValueError("it should be a number")  # noqa: TRY004  # pydantic wants ValueError
    return value


StopText = Annotated[str, Field(min_length=1, max_length=1024)]
StopTexts = Annotated[list[StopText], Field(max_length=4)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Biases = Annotated[dict[int, Bias], Field(max_length=1024)]
_BiasesByText = Annotated[
    dict[str, Bias], Field(max_length=1024, json_schema_extra={"propertyNames": {"pattern": _ID_PATTERN}})
]
_READS_STOPS = BeforeValidator(_one_is_a_list, json_schema_input_type=StopText | StopTexts | None)
_READS_BIASES = BeforeValidator(_token_ids, json_schema_input_type=_BiasesByText | None)


class StreamOptions(Body):
    """`stream_options`."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class SamplingFields(Body):
    """What both completion endpoints take. Null means unset everywhere."""

    model_config = ConfigDict(allow_inf_nan=False)
    refused: ClassVar[dict[str, tuple[Any, ...]]] = {}
    """Fields that this server knows but does not honour, with the values that ask for nothing."""
    without_effect: ClassVar[frozenset[str]] = frozenset({"user"})
    """Fields that are checked and then change nothing; docs/api.md says why."""

    model: str | None = Field(None, max_length=256)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=128)
    max_tokens: int | None = Field(None, ge=0)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Annotated[StopTexts | None, _READS_STOPS] = None
    logit_bias: Annotated[Biases | None, _READS_BIASES] = None
    user: str | None = None

    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=10)
    min_tokens: int | None = Field(None, ge=0)
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[int], Field(max_length=64)] | None = None
    typical_p: float | None = Field(None, gt=0, le=1)
    mirostat: Annotated[Literal[0, 2] | None, BeforeValidator(_no_truth_value)] = None
    mirostat_tau: float | None = Field(None, gt=0, le=100)
    mirostat_eta: float | None = Field(None, gt=0, le=1)
    regex: str | None = Field(None, min_length=1, max_length=MAX_GRAMMAR)
    grammar: str | None = Field(None, min_length=1, max_length=MAX_GRAMMAR)

    @model_validator(mode="before")
    @classmethod
    def _refuse(cls, data: Any) -> Any:
        """Take out the refused fields that ask for nothing; stop at one that asks for something."""
        if not isinstance(data, dict):
            return data
        for name, neutral in cls.refused.items():
            if name in data and data[name] is not None and not _is_one_of(data[name], neutral):
                raise PydanticCustomError(
                    "unsupported_parameter", "'{param}' is not supported by this server; leave it out.", {"param": name}
                )
        return {name: value for name, value in data.items() if name not in cls.refused}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Of the refused fields, null and the values that ask for nothing are taken."""
        shown = handler(core)
        properties = handler.resolve_ref_schema(shown)["properties"]
        properties |= {name: {"enum": [None, *neutral]} for name, neutral in cls.refused.items()}
        return shown

    @model_validator(mode="after")
    def _stream_options_need_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise field_error("stream_options", "it is only allowed when 'stream' is true")
        return self

    @model_validator(mode="after")
    def _mirostat_is_on(self) -> Self:
        for name in ("mirostat_tau", "mirostat_eta"):
            if getattr(self, name) is not None and not self.mirostat:
                raise field_error(name, "it needs 'mirostat' to be 2")
        return self

    @property
    def include_usage(self) -> bool:
        """True if the stream ends with a chunk of usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, limits: Limits, max_tokens: int | None) -> SamplingParams:
        """The sampling parameters. Without `max_tokens` an answer is bounded by context and `limits.max_tokens`."""
        return SamplingParams(
            max_tokens=limits.max_tokens if max_tokens is None else max_tokens,
            min_tokens=self.min_tokens or 0,
            temperature=_or(self.temperature, 1.0),
            top_k=max(0, self.top_k or 0),
            top_p=_or(self.top_p, 1.0),
            min_p=self.min_p or 0.0,
            repetition_penalty=_or(self.repetition_penalty, 1.0),
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            logit_bias=self.logit_bias or {},
            seed=self.seed,
            stop=tuple(self.stop or ()),
            stop_token_ids=tuple(self.stop_token_ids or ()),
            ignore_eos=bool(self.ignore_eos),
            typical_p=_or(self.typical_p, 1.0),
            mirostat_tau=_or(self.mirostat_tau, 5.0) if self.mirostat else None,
            mirostat_eta=_or(self.mirostat_eta, 0.1),
            constraint=to_constraint(None, self.regex, self.grammar),
        )


def _is_one_of(value: Any, values: tuple[Any, ...]) -> bool:
    """Equal as JSON: true is not 1."""
    return any(type(value) is type(other) and value == other for other in values)


def seeded(sampling: SamplingParams, choices: int) -> Iterable[SamplingParams]:
    """Sampling parameters of each choice: with a seed, choice k gets seed + k, so that choices differ and repeat."""
    for index in range(choices):
        yield msgspec.structs.replace(sampling, seed=sampling.seed + index) if sampling.seed is not None else sampling


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def over(param: str, value: int, limit: int) -> HTTPError:
    """The refusal of a value over a limit of the server."""
    return HTTPError(
        400, f"'{param}' is {value}, above this server's limit of {limit}.", param=param, code="limit_exceeded"
    )
