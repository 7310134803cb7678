"""What need not be read again with llama.cpp: as with ctransformers, and with a smaller cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.test_prefixes import (
    alone,
    outlive,
    test_a_state_is_of_no_use_to_another_context,
    test_choices_read_their_prompt_once,
    test_conversations_outlive_the_server,
    test_more_conversations_than_slots_each_go_on,
    test_of_a_chat_of_ten_turns_only_the_new_turn_is_read,
    test_what_comes_together_reads_the_system_prompt_once,
)

__all__ = [
    "alone",
    "test_a_state_is_of_no_use_to_another_context",
    "test_choices_read_their_prompt_once",
    "test_conversations_outlive_the_server",
    "test_more_conversations_than_slots_each_go_on",
    "test_of_a_chat_of_ten_turns_only_the_new_turn_is_read",
    "test_what_comes_together_reads_the_system_prompt_once",
]


@pytest.fixture(scope="module")
def engine() -> str:
    return "llama_cpp"


def test_conversations_of_a_quantised_cache_outlive_the_server(tmp_path: Path) -> None:
    outlive(tmp_path, "llama_cpp", cache_type="q8_0")
