"""Endless training batches of conversations of similar length, the same for a seed."""

from collections.abc import Iterator
from random import Random

import torch
from torch import Tensor

from tools.demo_model.conversations import Stage, converse
from tools.demo_model.prompts import Example, encode_example, render
from tools.demo_model.tokenizer import Tokenizer

POOL = 1024


def pool(tokenizer: Tokenizer, seed: str, number: int, context: int, stage: Stage) -> list[Example]:
    """Return one pool of conversations that fit the context, shortest first."""
    rng = Random(f"{seed}:{number}")
    found: list[Example] = []
    while len(found) < POOL:
        conversation = converse(rng, stage)
        text = render(conversation.messages, conversation.tools)
        example = encode_example(tokenizer, text)
        if len(example.ids) <= context:
            found.append(example)
    return sorted(found, key=lambda example: len(example.ids))


def cut(examples: list[Example], tokens: int) -> list[list[Example]]:
    """Cut a sorted pool into batches of about ``tokens`` tokens each."""
    batches: list[list[Example]] = [[]]
    for example in examples:
        if batches[-1] and (len(batches[-1]) + 1) * len(example.ids) > tokens:
            batches.append([])
        batches[-1].append(example)
    return batches


def collate(examples: list[Example]) -> tuple[Tensor, Tensor]:
    """Pad a batch; padding is never trained."""
    longest = max(len(example.ids) for example in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    trained = torch.zeros(len(examples), longest, dtype=torch.bool)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        trained[row, : len(example.ids)] = torch.tensor(example.trained)
    return ids, trained


def stream(
    tokenizer: Tokenizer, seed: str, context: int, tokens: int, first_pool: int, stage: Stage
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the number of the pool, ids and marks, in an order that the seed fixes."""
    number = first_pool
    while True:
        batches = cut(pool(tokenizer, seed, number, context, stage), tokens)
        Random(f"{seed}:{number}:order").shuffle(batches)
        for batch in batches:
            yield number, *collate(batch)
        number += 1
