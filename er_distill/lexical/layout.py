"""The features by name, in order, and what each says."""

from __future__ import annotations

VERSION = 2
"""Part of a student's manifest: a student is only as good as the features it was fitted on."""

SIMILARITIES = (
    "word_cosine",
    "word_jaccard",
    "word_contained_most",
    "word_contained_least",
    "word_rarest_shared",
    "word_rarest_unshared_most",
    "word_rarest_unshared_least",
    "number_jaccard",
    "number_shared",
    "number_unshared_most",
    "number_unshared_least",
    "number_shared_weight",
    "words_most",
    "words_least",
    "code_jaccard",
    "code_contained",
    "code_shared_weight",
    "code_unshared_weight_most",
    "code_unshared_weight_least",
    "quantity_jaccard",
    "quantity_contained",
    "quantity_shared_weight",
    "quantity_unshared_weight_most",
    "quantity_unshared_weight_least",
    "year_jaccard",
    "year_contained",
    "year_shared_weight",
    "year_unshared_weight_most",
    "year_unshared_weight_least",
    "year_unshared_gap",
    "main_code",
    "main_code_start",
    "main_cosine",
    "main_contained_most",
    "main_contained_least",
    "main_inside_most",
    "main_inside_least",
    "main_rarest_unshared_most",
    "main_rarest_unshared_least",
    "main_value",
    "main_value_start",
    "main_first_word",
    "main_last_word",
    "gram_cosine",
    "gram_jaccard",
    "gram_contained_most",
    "gram_contained_least",
    "fields_compared",
    "fields_missing",
    "field_mean",
    "field_weighted_mean",
    "field_lowest",
    "field_second_lowest",
    "field_highest",
    "field_equal_share",
    "field_equal_weight",
    "field_information",
    "field_conflicts",
    "field_conflict_weight",
    "key_field",
    "one_table",
)
CONTEXT_OF = (
    "word_cosine",
    "word_contained_least",
    "number_jaccard",
    "gram_cosine",
    "field_weighted_mean",
    "key_field",
)
CONTEXT = (
    *(f"{name}_margin_{which}" for name in CONTEXT_OF for which in ("least", "most")),
    "list_length_most",
    "list_length_least",
)
FEATURES = SIMILARITIES + CONTEXT

_AGAINST = ("unshared", "conflict")  # parts of the names of what speaks against a match
_NEITHER = ("words_", "fields_", "field_information", "one_table", "list_length")  # beginnings of names
DIRECTIONS = tuple(
    0 if name.startswith(_NEITHER) else -1 if any(part in name for part in _AGAINST) else 1 for name in FEATURES
)
"""What more of a feature says: 1 for a match, -1 against one, 0 either. Sizes and counts say neither."""
