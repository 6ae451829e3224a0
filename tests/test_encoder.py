from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_encoders import product_task, save_bert, save_roberta

from er_distill.errors import DeviceError, InputError, MissingExtraError
from er_distill.pairs import Pairs
from er_distill.tokens import PairEncoder

torch = pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
pytest.importorskip("transformers", reason="transformers not installed: pip install 'er-distill[train]'")
from er_distill.training.encoder import EncoderConfig, EncoderTask, train_encoder  # noqa: E402
from er_distill.training.lists import CandidateList, cut_into_lists, pad, plan_epoch  # noqa: E402
from er_distill.training.losses import imitation_loss, list_loss  # noqa: E402
from er_distill.training.pretrained import check_base, load_base  # noqa: E402

QUICK = {"max_length": 32, "learning_rate": 3e-3, "batch_tokens": 512, "dtype": "float32", "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """On a busy machine torch's threads wait for each other far longer than a tiny model runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_roberta(tmp_path_factory.mktemp("roberta"))


def task_of(seed: int = 0) -> EncoderTask:
    return EncoderTask(*product_task(seed), name="products")


def one_list(target: list[float], *, choose_one: bool = True, weight: float = 1.0) -> CandidateList:
    wanted = torch.tensor(target)
    return CandidateList([], wanted, torch.full_like(wanted, weight), choose_one)


@pytest.mark.parametrize(("base", "dtype"), [("bert", "float32"), ("roberta", "float32"), ("bert", "bfloat16")])
def test_training_learns_which_candidate_or_none(base: str, dtype: str, request: pytest.FixtureRequest) -> None:
    task = task_of()
    losses: list[float] = []
    steps: list[tuple[int, int]] = []

    def log(step: int, n_steps: int, loss: float) -> None:
        steps.append((step, n_steps))
        losses.append(loss)

    config = EncoderConfig(request.getfixturevalue(base), **QUICK | {"epochs": 60, "dtype": dtype})
    model = train_encoder([task], config, log=log)
    logits = model.predict(task.left_texts, task.right_texts, task.pairs)

    assert steps == [(k + 1, len(steps)) for k in range(len(steps))]
    assert losses[0] > 1.2  # ln 6 = 1.8 is what an ignorant softmax loses
    assert np.median(losses[-9:]) < 0.1
    # A logit is the log-odds against "none": its sign alone decides, also for the queries that have no match.
    assert np.mean((logits > 0) == (task.target > 0.5)) > 0.97


@pytest.mark.parametrize("objective", ["pairwise", "both"])
def test_other_objectives_learn_too(bert: Path, objective: Any) -> None:
    task = task_of()
    model = train_encoder([task], EncoderConfig(bert, objective=objective, **QUICK | {"epochs": 80}))
    logits = model.predict(task.left_texts, task.right_texts, task.pairs)
    assert np.mean((logits > 0) == (task.target > 0.5)) > 0.97


def test_dedup_with_several_matches_a_record_learns(bert: Path) -> None:
    texts = [
        f"{brand} {thing} {colour}"
        for brand in ("sony", "canon")
        for thing in ("camera", "phone")
        for colour in ("red",) * 3
    ]
    left, right = np.triu_indices(len(texts), 1)
    target = (left // 3 == right // 3).astype(np.float32)
    task = EncoderTask(texts, None, Pairs(left, right, len(texts), len(texts), True), target)
    model = train_encoder([task], EncoderConfig(bert, **QUICK | {"epochs": 100}))
    np.testing.assert_array_equal(model.predict(texts, None, task.pairs) > 0, target > 0.5)


def test_training_repeats_itself_and_leaves_the_callers_random_numbers_alone(bert: Path) -> None:
    task, config = task_of(), EncoderConfig(bert, **QUICK | {"epochs": 2, "seed": 7})
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    first, second, third = (
        train_encoder([task], one).predict(task.left_texts, task.right_texts, task.pairs)
        for one in (config, config, dataclasses.replace(config, seed=8))
    )
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, third)
    torch.testing.assert_close(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_pairs_without_label_or_weight_are_not_trained_on(bert: Path) -> None:
    task = task_of()
    config = EncoderConfig(bert, **QUICK | {"epochs": 2})
    gone = np.arange(len(task.pairs)) % 2 == 0
    target = np.where(gone, np.nan, task.target).astype(np.float32)
    kept = dataclasses.replace(task, pairs=task.pairs.take(~gone), target=task.target[~gone])
    with_nan = train_encoder([dataclasses.replace(task, target=target)], config)
    without = train_encoder([kept], config)
    given = task.left_texts, task.right_texts, task.pairs
    np.testing.assert_array_equal(with_nan.predict(*given), without.predict(*given))

    flipped = dataclasses.replace(task, target=np.where(gone, 1 - task.target, task.target))
    weight = np.where(gone, 0.0, 1.0)
    pairwise = dataclasses.replace(config, objective="pairwise")
    ignored = [train_encoder([dataclasses.replace(one, weight=weight)], pairwise) for one in (task, flipped)]
    np.testing.assert_array_equal(ignored[0].predict(*given), ignored[1].predict(*given))


@pytest.mark.parametrize("base", ["bert", "roberta"])
def test_model_reads_what_its_own_tokenizer_makes_of_two_texts(base: str, request: pytest.FixtureRequest) -> None:
    loaded = load_base(request.getfixturevalue(base), 24)
    left_texts, right_texts, pairs, _ = product_task()
    left_texts[0] = "sony " * 30
    logits = loaded.predict(left_texts, right_texts, pairs)

    tokenizer = loaded.tokenizer
    tokenizer.enable_truncation(24, strategy="longest_first")
    texts = [sorted((left_texts[i], right_texts[j])) for i, j in zip(pairs.left, pairs.right, strict=True)]
    for (first, second), logit in zip(texts, logits, strict=True):
        encoding = tokenizer.encode(first, second)
        assert len(encoding.ids) <= 24
        inputs = {"input_ids": torch.tensor([encoding.ids]), "attention_mask": torch.tensor([encoding.attention_mask])}
        if "token_type_ids" in loaded.input_names:
            inputs["token_type_ids"] = torch.tensor([encoding.type_ids])
        with torch.no_grad():
            assert loaded.model(**inputs).logits.item() == pytest.approx(logit, abs=1e-5)


def test_direction_does_not_change_a_logit(bert: Path) -> None:
    loaded = load_base(bert, 32)
    left_texts, right_texts, pairs, _ = product_task()
    turned = Pairs(pairs.right, pairs.left, pairs.n_right, pairs.n_left)
    np.testing.assert_allclose(
        loaded.predict(left_texts, right_texts, pairs), loaded.predict(right_texts, left_texts, turned), atol=1e-6
    )


def test_training_reads_a_pair_the_same_in_either_direction(bert: Path) -> None:
    task, loaded = task_of(), load_base(bert, 32)
    pairs = task.pairs
    turned = EncoderTask(
        task.right_texts or [],
        task.left_texts,
        Pairs(pairs.right, pairs.left, pairs.n_right, pairs.n_left),
        task.target,
    )
    read = [
        sorted(
            (tuple(ids), tuple(types), float(target))
            for one in cut_into_lists([each], loaded, 16, np.random.default_rng(0))
            for (ids, types), target in zip(one.inputs, one.target, strict=True)
        )
        for each in (task, turned)
    ]
    assert read[0] == read[1]


def test_list_loss_is_the_cross_entropy_with_none_beside_the_candidates() -> None:
    logits = torch.tensor([2.0, -1.0, 0.5])
    share = np.exp([0, 2.0, -1.0, 0.5]) / np.exp([0, 2.0, -1.0, 0.5]).sum()
    soft = one_list([0.6, 0.0, 0.1])
    expected = -(np.array([0.3, 0.6, 0.0, 0.1]) * np.log(share)).sum()
    assert list_loss(logits, soft, "listwise").item() == pytest.approx(expected, rel=1e-5)
    heavier = one_list([0.6, 0.0, 0.1], weight=3.0)
    assert list_loss(logits, heavier, "listwise").item() == pytest.approx(3 * expected, rel=1e-5)

    doubted = dataclasses.replace(soft, weight=torch.tensor([0.5, 2.0, 0.8]))
    expected_of_doubted = -(np.array([0.3 * 1.1, 0.6 * 0.5, 0.0, 0.1 * 0.8]) * np.log(share)).sum()
    assert list_loss(logits, doubted, "listwise").item() == pytest.approx(expected_of_doubted, rel=1e-5)

    chance = 1 / (1 + np.exp(-np.array([2.0, -1.0, 0.5])))
    wanted = np.array([1.0, 0.0, 1.0])
    by_pair = -(wanted * np.log(chance) + (1 - wanted) * np.log(1 - chance)).sum()
    several = one_list([1.0, 0.0, 1.0], choose_one=False)
    for objective in ("listwise", "pairwise", "both"):
        assert list_loss(logits, several, objective).item() == pytest.approx(by_pair, rel=1e-5)
    both = list_loss(logits, soft, "both") - list_loss(logits, soft, "pairwise")
    assert both.item() == pytest.approx(expected, rel=1e-5)


def softmax(logits: list[float], temperature: float = 1.0) -> np.ndarray:
    share = np.exp(np.array([0.0, *logits]) / temperature)
    return share / share.sum()


def imitating(teacher: list[float], *, choose_one: bool = True, weight: float = 1.0) -> CandidateList:
    return dataclasses.replace(
        one_list([0.0] * len(teacher), choose_one=choose_one, weight=weight), teacher=torch.tensor(teacher)
    )


def test_imitation_of_a_distribution_is_the_divergence_of_softened_softmaxes() -> None:
    student, teacher = [2.0, -1.0, 0.5], [4.0, -3.0, -2.0]
    wanted, given = softmax(teacher, 3.0), softmax(student, 3.0)
    expected = 9.0 * (wanted * np.log(wanted / given)).sum()
    logits = torch.tensor(student)
    assert imitation_loss(logits, imitating(teacher), "distribution", 3.0).item() == pytest.approx(expected, rel=1e-5)
    heavier = imitation_loss(logits, imitating(teacher, weight=2.0), "distribution", 3.0)
    assert heavier.item() == pytest.approx(2 * expected, rel=1e-5)

    by_pair = 0.0
    for s, t in zip(student, teacher, strict=True):
        wanted, given = softmax([t], 3.0), softmax([s], 3.0)
        by_pair += 9.0 * (wanted * np.log(wanted / given)).sum()
    several = imitating(teacher, choose_one=False)
    assert imitation_loss(logits, several, "distribution", 3.0).item() == pytest.approx(by_pair, rel=1e-5)


@pytest.mark.parametrize(
    ("teacher", "expected"),
    [
        # The first candidate leads none by 4, the second by 7, the third by 6; the student says 2, 3 and 1.5.
        ([4.0, -3.0, -2.0], (2.0**2 + 4.0**2 + 4.5**2) / 3),
        # None leads by 1, 2 and 3; the student says -2, 1 and -0.5.
        ([-1.0, -2.0, -3.0], (3.0**2 + 1.0**2 + 3.5**2) / 3),
    ],
)
def test_imitation_of_margins_is_their_mean_squared_error(teacher: list[float], expected: float) -> None:
    logits = torch.tensor([2.0, -1.0, 0.5])
    assert imitation_loss(logits, imitating(teacher), "margin", 1.0).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("imitate", ["distribution", "margin"])
def test_model_that_only_imitates_gets_the_bigger_models_logits(imitate: str, bert: Path) -> None:
    task = task_of()
    teacher = np.where(task.target > 0.5, 2.0, -2.0) + np.random.default_rng(0).uniform(-0.5, 0.5, len(task.pairs))
    wrong = np.where(np.arange(len(task.pairs)) % 2, task.target, 1 - task.target)
    taught = dataclasses.replace(task, target=wrong, teacher_logit=teacher)
    config = EncoderConfig(bert, **QUICK | {"epochs": 60}, imitate=imitate, imitation=1.0)
    logits = train_encoder([taught], config).predict(task.left_texts, task.right_texts, task.pairs)
    assert np.corrcoef(logits, teacher)[0, 1] > 0.9
    assert np.mean((logits > 0) == (teacher > 0)) > 0.95


def test_lists_without_all_teacher_logits_learn_their_labels(bert: Path) -> None:
    task, config = task_of(), EncoderConfig(bert, **QUICK | {"epochs": 2})
    logit = np.where(np.arange(len(task.pairs)) == np.argsort(task.pairs.left, kind="stable")[0], np.nan, 3.0)
    lists = cut_into_lists(
        [dataclasses.replace(task, teacher_logit=logit)], load_base(bert, 32), 16, np.random.default_rng(0)
    )
    assert sorted(one.teacher is None for one in lists) == [False] * 15 + [True]
    nothing = dataclasses.replace(task, teacher_logit=np.full(len(task.pairs), np.nan))
    given = task.left_texts, task.right_texts, task.pairs
    np.testing.assert_array_equal(
        train_encoder([nothing], config).predict(*given), train_encoder([task], config).predict(*given)
    )


def test_accumulated_batches_are_one_step(bert: Path) -> None:
    task, given = task_of(), task_of()
    config = EncoderConfig(bert, **QUICK | {"epochs": 3, "batch_tokens": 100_000})
    whole, parts, alone = (
        train_encoder([task], one).predict(given.left_texts, given.right_texts, given.pairs)
        for one in (
            config,
            dataclasses.replace(config, batch_tokens=1, accumulate=1_000),
            dataclasses.replace(config, batch_tokens=1),
        )
    )
    np.testing.assert_allclose(parts, whole, atol=1e-3)
    assert np.abs(alone - whole).max() > 0.1


def test_training_stops_when_held_out_lists_no_longer_gain_and_gives_the_best_model(bert: Path) -> None:
    # The held-out labels say the opposite: each epoch is worse for them, and the first is the best.
    task = task_of()
    opposite = dataclasses.replace(task, target=1 - task.target)
    config = EncoderConfig(bert, **QUICK | {"epochs": 30, "patience": 2})
    steps: list[tuple[int, int]] = []
    stopped = train_encoder([task], config, held_out=[opposite], log=lambda *told: steps.append(told[:2]))
    an_epoch = steps[-1][1] // 30
    assert steps[-1][0] == 3 * an_epoch
    given = task.left_texts, task.right_texts, task.pairs
    sooner = train_encoder([task], dataclasses.replace(config, patience=1), held_out=[opposite])
    np.testing.assert_array_equal(sooner.predict(*given), stopped.predict(*given))
    patient = train_encoder([task], dataclasses.replace(config, patience=0), held_out=[opposite])
    np.testing.assert_array_equal(patient.predict(*given), stopped.predict(*given))
    last = train_encoder([task], dataclasses.replace(config, patience=0))
    assert np.abs(last.predict(*given) - stopped.predict(*given)).max() > 1.0


def test_held_out_lists_that_cannot_be_used(bert: Path) -> None:
    task = task_of()
    with pytest.raises(InputError, match="patience needs lists that are not trained on"):
        train_encoder([task], EncoderConfig("/nowhere", patience=1))
    unlabelled = dataclasses.replace(task, target=np.full(80, np.nan))
    with pytest.raises(InputError, match="held-out tasks have no labelled pair"):
        train_encoder([task], EncoderConfig("/nowhere"), held_out=[unlabelled])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": np.full(80, np.nan, np.float32)}, r"no labelled pair .*products.*labels"),
        ({"target": np.zeros(80, np.float32)}, r"All 80 labelled pairs are no match \(products\).*both kinds"),
        ({"target": np.ones(80, np.float32)}, r"All 80 labelled pairs are a match"),
        ({"target": np.zeros(7, np.float32)}, r"products: target has shape \(7,\).*\(80,\)"),
        ({"target": np.full(80, 1.5, np.float32)}, r"products: target must be between 0 and 1"),
        ({"weight": np.full(80, -1.0)}, r"products: weight must be 0 or above"),
        ({"weight": np.full(80, np.nan)}, r"products: weight must be 0 or above"),
        ({"right_texts": None}, r"products: right_texts must be None"),
        ({"teacher_logit": np.zeros(7)}, r"products: teacher_logit has shape \(7,\)"),
        ({"teacher_logit": np.full(80, np.inf)}, r"products: teacher_logit must be finite"),
    ],
)
def test_labels_that_cannot_be_trained_on(change: dict[str, Any], message: str) -> None:
    # The base does not exist: labels are looked at before anything is loaded.
    with pytest.raises(InputError, match=message):
        train_encoder([dataclasses.replace(task_of(), **change)], EncoderConfig("/nowhere"))


def test_no_task_is_an_error() -> None:
    with pytest.raises(InputError, match="no labelled pair"):
        train_encoder([], EncoderConfig("/nowhere"))


def test_base_that_cannot_be_used(tmp_path: Path) -> None:
    from transformers import BartConfig, BertConfig, GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=50)).save_pretrained(tmp_path / "gpt")
    BartConfig(d_model=8).save_pretrained(tmp_path / "bart")
    BertConfig(is_decoder=True).save_pretrained(tmp_path / "decoder")
    save_bert(tmp_path / "bare", tokenizer=False)
    (save_bert(tmp_path / "light") / "model.safetensors").unlink()
    (tmp_path / "file").write_text("{}")
    for base, message in (
        ("/nowhere/base", r"base '/nowhere/base' cannot be loaded.*config\.json"),
        (tmp_path, "cannot be loaded"),
        (tmp_path / "file", "cannot be loaded"),
        (tmp_path / "gpt", "is a gpt2 model, no encoder"),
        (tmp_path / "bart", "is a bart model, no encoder"),
        (tmp_path / "decoder", "is a bert model, no encoder"),
        (tmp_path / "bare", r"has no tokenizer\.json"),
        (tmp_path / "light", r"has no model\.safetensors"),
    ):
        with pytest.raises(InputError, match=message):
            check_base(base)
        with pytest.raises(InputError, match=message):
            load_base(base, 32)


def test_checking_a_base_does_not_read_its_weights(tmp_path: Path) -> None:
    (save_bert(tmp_path) / "model.safetensors").write_bytes(b"no weights")
    assert check_base(tmp_path).is_fast


def test_base_that_reads_fewer_tokens(tmp_path: Path) -> None:
    save_bert(tmp_path, n_positions=16)
    assert load_base(tmp_path, 16).max_length == 16
    with pytest.raises(InputError, match="cannot read 17 tokens"):
        load_base(tmp_path, 17)


def test_config_names_what_it_cannot_use() -> None:
    with pytest.raises(InputError, match=r"no objective 'listwize'. Did you mean 'listwise'"):
        EncoderConfig("base", objective="listwize")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"epochs must be above 0, not 0"):
        EncoderConfig("base", epochs=0)
    with pytest.raises(InputError, match=r"imitation is a share, 0 to 1, not 2"):
        EncoderConfig("base", imitation=2)
    with pytest.raises(InputError, match=r"patience must be 0 or above, not -1"):
        EncoderConfig("base", patience=-1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_device_that_is_not_there() -> None:
    with pytest.raises(DeviceError, match=r"torch finds no device 'cuda'.*'cpu'"):
        train_encoder([task_of()], EncoderConfig("/nowhere", device="cuda"))
    with pytest.raises(DeviceError, match=r"no device 'cudda'. Did you mean 'cuda'"):
        train_encoder([task_of()], EncoderConfig("/nowhere", device="cudda"))


def test_training_that_diverges_says_so(bert: Path) -> None:
    with pytest.raises(InputError, match=r"diverged.*learning_rate"):
        train_encoder([task_of()], EncoderConfig(bert, **QUICK | {"learning_rate": 1e30, "epochs": 20}))


def test_loading_is_quiet_and_leaves_the_callers_logging_alone(bert: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import transformers

    level = transformers.utils.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_base(bert, 32)
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == level
    assert transformers.utils.logging.is_progress_bar_enabled()


def test_without_torch_the_extra_is_named() -> None:
    code = "import sys; sys.modules['torch'] = None\nimport er_distill.training\nimport er_distill.training.encoder"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert MissingExtraError.__name__ in result.stderr
    assert 'Training needs torch, which is not installed. Run: pip install "er-distill[train]"' in result.stderr


def test_pair_encoder_serves_what_training_uses(bert: Path) -> None:
    """The token budget of a list: padding never exceeds max_length, and each pair is in exactly one list."""
    task, rng = task_of(), np.random.default_rng(0)
    loaded = load_base(bert, 12)
    config = EncoderConfig(bert, **QUICK | {"max_length": 12, "list_pairs": 3, "batch_tokens": 100})
    lists = cut_into_lists([task], loaded, config.list_pairs, rng)
    inputs = [tuple(ids) for one in lists for ids, _ in one.inputs]
    encoder = PairEncoder(loaded.tokenizer, 12)
    tables = encoder.table(task.left_texts), encoder.table(task.right_texts or [])
    served = [tuple(ids) for batch in encoder.batches(*tables, task.pairs, 64) for ids in batch.input_ids]
    assert sorted(inputs) == sorted(served)
    assert max(len(one.inputs) for one in lists) == 3
    epoch = plan_epoch(lists, config.batch_tokens, rng)
    assert sorted(k for batch in epoch for k in batch) == list(range(len(lists)))
    for batch in epoch:
        padded = pad([lists[k] for k in batch], loaded, torch.device("cpu"))
        assert padded["input_ids"].numel() <= config.batch_tokens
        assert padded["attention_mask"].sum() == sum(len(ids) for k in batch for ids, _ in lists[k].inputs)
