"""Pairs assembled from ids equal what the tokenizer itself makes of the two texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from er_distill.artefact import locate
from er_distill.pairs import Pairs
from er_distill.tokens import PairEncoder

TEXTS = st.lists(
    st.text(alphabet=st.sampled_from("ab1 -éß漢.,"), max_size=60)
    | st.sampled_from(["supercalifragilistic", "sony dsc-w120", ""]),
    min_size=1,
    max_size=6,
)


def wordpiece() -> Tokenizer:
    return Tokenizer.from_file(str(locate("default") / "tokenizer.json"))


def byte_pairs() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["sony dsc w120 camera", "canon camera"], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), trim_offsets=False)
    return tokenizer


@pytest.mark.parametrize("make", [wordpiece, byte_pairs])
@given(
    left=TEXTS,
    right=TEXTS,
    max_length=st.integers(8, 40),
    tokens=st.integers(1, 300),
    multiple=st.sampled_from([1, 8]),
    block=st.integers(1, 40),
)
def test_assembled_ids_are_the_tokenizers(
    make, left: list[str], right: list[str], max_length: int, tokens: int, multiple: int, block: int
) -> None:
    tokenizer = make()
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(len(left)), np.arange(len(right))))
    encoder = PairEncoder(tokenizer, max_length)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    seen = []
    pairs = Pairs(i, j, len(left), len(right))
    for batch in encoder.blocks(encoder.table(left), encoder.table(right), pairs, block, tokens, multiple=multiple):
        width = batch.input_ids.shape[1]
        assert len(batch.rows) == 1 or batch.input_ids.size <= tokens
        assert width <= max_length
        assert width == max_length or width % multiple == 0
        for row, ids, types, mask in zip(
            batch.rows, batch.input_ids, batch.token_type_ids, batch.attention_mask, strict=True
        ):
            expected = tokenizer.encode(*sorted([left[i[row]], right[j[row]]]))
            size = len(expected.ids)
            assert width - size < multiple
            assert ids[:size].tolist() == expected.ids
            assert types[:size].tolist() == expected.type_ids
            assert mask.tolist() == [1] * size + [0] * (width - size)
            seen.append(row)
    assert sorted(seen) == list(range(len(i)))


def test_each_record_is_tokenised_once() -> None:
    encoder = PairEncoder(wordpiece(), 32)
    table = encoder.table(["one", "two", "three"])
    table.ensure(np.array([0, 1, 1]))
    before = table.flat
    table.ensure(np.array([1, 0]))
    assert table.flat is before
    assert table.length.tolist()[2] == -1
