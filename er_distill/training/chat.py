"""A chat template as two strings, so that a student is served without one."""

from __future__ import annotations

from typing import Any

from er_distill.errors import InputError
from er_distill.selecting import Frame

_QUESTION = "the question stands here"


def frame_of(tokenizer: Any, max_length: int = Frame.max_length) -> Frame:
    """Flatten a tokenizer's chat template into what stands before and after the question.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        Without a chat template the question stands alone, after the token that opens a text where one is set.
    max_length : int
        Tokens of a prompt.

    Returns
    -------
    Frame

    Raises
    ------
    InputError
        When the template fails, or does not show a user's message as it is.
    """
    if tokenizer.chat_template is None:
        opening = tokenizer.build_inputs_with_special_tokens([])[:1] if tokenizer.bos_token_id is not None else []
        return Frame("".join(tokenizer.convert_ids_to_tokens(opening)), max_length=max_length)
    turns = [{"role": "user", "content": _QUESTION}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of its author, which may raise anything
        raise InputError(f"The base's chat template cannot be used ({error}). Give a base with another one.") from error
    prefix, question, suffix = str(text).partition(_QUESTION)
    if not question or _QUESTION in suffix:
        raise InputError("The base's chat template does not show the user's message as it is. Give another base.")
    return Frame(prefix, suffix, max_length)
