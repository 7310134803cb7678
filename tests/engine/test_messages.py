from __future__ import annotations

import random
import struct
from typing import Any

import msgspec
import pytest

from ixmodal.engine.messages import (
    MAX_FRAME_BYTES,
    Cancel,
    Delta,
    Failed,
    Finished,
    FrameBuffer,
    Generate,
    Load,
    LoadFailed,
    Progress,
    Ready,
    Refused,
    Started,
    frame,
    from_worker,
    to_worker,
)
from ixmodal.engine.request import (
    ChatPrompt,
    FinishReason,
    GenerationRequest,
    ModelInfo,
    SamplingParams,
    TextPrompt,
    TokenPrompt,
)

SAMPLING = SamplingParams(
    max_tokens=3,
    min_tokens=1,
    temperature=0.5,
    top_k=4,
    top_p=0.9,
    min_p=0.1,
    repetition_penalty=1.1,
    frequency_penalty=-1,
    presence_penalty=2,
    logit_bias={7: -100.0},
    seed=-5,
    stop=("\n", "。"),
    stop_token_ids=(1, 2),
    ignore_eos=True,
)
TO_WORKER = [
    Load(
        backend="scripted",
        path="path",
        slots=2,
        batch_size=16,
        threads=4,
        context_length=512,
        gpu_layers=1000,
        mmap=False,
        mlock=True,
        chat_template="{{ x }}",
        template_timeout=1.5,
        warm_up=False,
    ),
    Load(backend="scripted", path="path", slots=1, batch_size=1, threads=1),
    Generate(
        1, GenerationRequest(ChatPrompt([{"role": "user", "content": "你好 \0 😀"}], [{"a": [1, None, 2.5]}]), SAMPLING)
    ),
    Generate(2**63, GenerationRequest(TextPrompt(""))),
    Generate(3, GenerationRequest(TokenPrompt([0, -1, 2**40]))),
    Cancel(4),
]
FROM_WORKER = [
    Ready(ModelInfo(context_length=256, vocabulary_size=600, slots=2, chat_template=None)),
    LoadFailed("no", True),
    Started(1, 5, 3),
    Progress(),
    Delta(1, "é", 2),
    Finished(1, "", 3, FinishReason.LENGTH),
    Refused(1, "no", None, "prompt"),
    Failed(1, "no"),
]


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64, 100_000])
def test_frames_survive_any_cut_of_the_stream(cut: int) -> None:
    for messages, decoder in ((TO_WORKER, to_worker), (FROM_WORKER, from_worker)):
        groups = [messages[:1], messages[1:4], messages[4:]]
        data = b"".join(map(frame, groups))
        buffer, found = FrameBuffer(), list[Any]()
        for start in range(0, len(data), cut):
            found += [decoder.decode(body) for body in buffer.feed(data[start : start + cut])]
        assert found == groups


def test_a_frame_comes_only_when_it_is_whole() -> None:
    data, buffer = frame([Cancel(1)]), FrameBuffer()
    assert list(buffer.feed(data[:-1])) == []
    assert len(list(buffer.feed(data[-1:] + data[:3]))) == 1
    assert len(list(buffer.feed(data[3:]))) == 1


def test_an_absurd_length_is_refused_before_anything_is_kept_for_it() -> None:
    with pytest.raises(ValueError, match=f"claims {MAX_FRAME_BYTES + 1} bytes"):
        list(FrameBuffer().feed(struct.pack(">I", MAX_FRAME_BYTES + 1)))


def test_good_frames_before_garbage_are_not_lost() -> None:
    found = []
    with pytest.raises(ValueError, match="claims"):
        found.extend(FrameBuffer().feed(frame([Cancel(1)]) + b"\xff" * 8))
    buffer = FrameBuffer().feed(frame([Cancel(1)]) + b"\xff" * 8)
    assert to_worker.decode(next(buffer)) == [Cancel(1)]


def test_garbage_decodes_to_an_error_never_to_a_message() -> None:
    noise = random.Random(1)
    for _ in range(500):
        data = noise.randbytes(noise.randrange(60))
        if data[:1] != b"\x90":  # the list of no message
            with pytest.raises(msgspec.MsgspecError):
                from_worker.decode(data)


@pytest.mark.parametrize(
    "body",
    [
        {"type": "delta", "id": "one", "text": "x", "completion_tokens": 1},
        {"type": "delta", "id": 1, "text": 5, "completion_tokens": 1},
        {"type": "delta", "id": 1},
        {"type": "finished", "id": 1, "text": "", "completion_tokens": 1, "reason": "tired"},
        {"type": "unheard"},
        {},
        [],
    ],
    ids=str,
)
def test_a_message_of_wrong_types_is_refused(body: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        from_worker.decode(msgspec.msgpack.encode([body]))


def test_a_worker_can_not_send_what_only_the_server_sends() -> None:
    with pytest.raises(msgspec.ValidationError):
        from_worker.decode(msgspec.msgpack.encode([Cancel(1)]))
