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
@given(left=TEXTS, right=TEXTS, max_length=st.integers(8, 40), batch_size=st.integers(1, 7))
def test_assembled_ids_are_the_tokenizers(
    make, left: list[str], right: list[str], max_length: int, batch_size: int
) -> None:
    tokenizer = make()
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(len(left)), np.arange(len(right))))
    encoder = PairEncoder(tokenizer, max_length)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    seen = []
    for batch in encoder.batches(
        encoder.table(left), encoder.table(right), Pairs(i, j, len(left), len(right)), batch_size
    ):
        assert len(batch.rows) <= batch_size
        for row, ids, types in zip(batch.rows, batch.input_ids, batch.token_type_ids, strict=True):
            expected = tokenizer.encode(*sorted([left[i[row]], right[j[row]]]))
            assert ids.tolist() == expected.ids
            assert types.tolist() == expected.type_ids
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
