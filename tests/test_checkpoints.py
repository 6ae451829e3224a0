"""A killed training run goes on where it was, and ends with the same model."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_encoders import product_task, save_bert

from er_distill.errors import InputError

torch = pytest.importorskip("torch", reason="torch not installed: pip install 'er-distill[train]'")
pytest.importorskip("transformers", reason="transformers not installed: pip install 'er-distill[train]'")
from er_distill.training import checkpoints  # noqa: E402
from er_distill.training.checkpoints import FILE  # noqa: E402
from er_distill.training.encoder import EncoderConfig, EncoderTask, train_encoder  # noqa: E402

# Dropout draws random numbers in each step, so that a resumed run is the same only when their state is kept too.
DROPOUT = 0.1
KILLED_AFTER = 11  # steps, in the middle of an epoch
TRAIN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_checkpoints import training
training(Path(sys.argv[2]), Path(sys.argv[3]), log=lambda step, n_steps, loss: print(step, flush=True))
"""
Model = dict[str, Any]


def settled(base: Path) -> EncoderConfig:
    return EncoderConfig(
        base, max_length=32, epochs=4, learning_rate=3e-3, batch_tokens=512, dtype="float32", device="cpu", patience=3
    )


def training(
    base: Path,
    folder: Path | None = None,
    seconds: float = 0.0,
    log: Callable[[int, int, float], None] | None = None,
    config: EncoderConfig | None = None,
) -> Model:
    torch.set_num_threads(1)
    task, other = EncoderTask(*product_task()), EncoderTask(*product_task(1))
    model = train_encoder(
        [task], config or settled(base), held_out=[other], checkpoints=folder, checkpoint_seconds=seconds, log=log
    )
    return {name: values.detach().clone() for name, values in model.model.state_dict().items()}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_bert(tmp_path_factory.mktemp("bert"))
    about = json.loads((folder / "config.json").read_text())
    about |= {"hidden_dropout_prob": DROPOUT, "attention_probs_dropout_prob": DROPOUT}
    (folder / "config.json").write_text(json.dumps(about))
    return folder


@pytest.fixture(scope="module")
def undisturbed(bert: Path) -> tuple[Model, list[float]]:
    losses: list[float] = []
    return training(bert, log=lambda step, n_steps, loss: losses.append(loss)), losses


def start(bert: Path, folder: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", TRAIN, str(Path(__file__).parent), str(bert), str(folder)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def test_killed_run_ends_with_the_model_of_an_undisturbed_one(
    bert: Path, undisturbed: tuple[Model, list[float]], tmp_path: Path
) -> None:
    expected, losses = undisturbed
    with start(bert, tmp_path) as process:
        for line in process.stdout:
            if int(line) == KILLED_AFTER:
                os.kill(process.pid, signal.SIGKILL)
                break
        done = max([KILLED_AFTER, *map(int, process.stdout)])  # it may have gone on until the signal arrived
    assert process.returncode == -signal.SIGKILL
    assert done < len(losses)
    (tmp_path / f".{FILE}.1.tmp").write_bytes(b"half a checkpoint")

    seen: list[tuple[int, float]] = []
    resumed = training(bert, tmp_path, log=lambda step, n_steps, loss: seen.append((step, loss)))
    # The kill may have come after a checkpoint was written and before its step was told.
    assert seen[0][0] in {done, done + 1, done + 2}
    assert [loss for _, loss in seen] == losses[seen[0][0] - 1 :]
    for name, values in expected.items():
        torch.testing.assert_close(resumed[name], values, rtol=0, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_run_that_has_ended_is_not_trained_again(
    bert: Path, undisturbed: tuple[Model, list[float]], tmp_path: Path
) -> None:
    training(bert, tmp_path, seconds=3600.0)
    seen: list[int] = []
    again = training(bert, tmp_path, log=lambda step, n_steps, loss: seen.append(step))
    assert not seen
    for name, values in undisturbed[0].items():
        torch.testing.assert_close(again[name], values, rtol=0, atol=0)


def test_checkpoint_of_another_run_is_replaced(
    bert: Path, undisturbed: tuple[Model, list[float]], tmp_path: Path
) -> None:
    training(bert, tmp_path, config=dataclasses.replace(settled(bert), seed=1))
    steps: list[int] = []
    model = training(bert, tmp_path, log=lambda step, n_steps, loss: steps.append(step))
    assert steps[0] == 1
    for name, values in undisturbed[0].items():
        torch.testing.assert_close(model[name], values, rtol=0, atol=0)


def test_no_checkpoint_before_it_is_due(bert: Path, tmp_path: Path) -> None:
    there: list[bool] = []
    training(bert, tmp_path, 3600.0, lambda step, n_steps, loss: there.append((tmp_path / FILE).exists()))
    assert not any(there)
    assert (tmp_path / FILE).exists()


def test_damaged_checkpoint_says_what_to_do(bert: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\x10" * 100)
    with pytest.raises(InputError, match=rf"{FILE} cannot be read.*Remove it to train from the start"):
        training(bert, tmp_path)


def test_disk_without_room_is_seen_before_training(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1_000))
    steps: list[int] = []
    with pytest.raises(InputError, match=r"cannot take checkpoints: they need .* GB left. Free some space"):
        training(bert, tmp_path, log=lambda step, n_steps, loss: steps.append(step))
    assert not steps


def test_disk_that_fills_up_costs_no_more_than_the_last_minute(
    bert: Path, undisturbed: tuple[Model, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    write, written = checkpoints.save_file, []

    def fills_up(*arguments: Any) -> None:
        if len(written) == KILLED_AFTER:
            Path(arguments[1]).write_bytes(b"what there was room for")
            raise SafetensorError("I/O error: No space left on device")
        written.append(write(*arguments))

    monkeypatch.setattr(checkpoints, "save_file", fills_up)
    with pytest.raises(InputError, match=r"cannot be written.*No space left.*Free some space"):
        training(bert, tmp_path)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    steps: list[int] = []
    resumed = training(bert, tmp_path, log=lambda step, n_steps, loss: steps.append(step))
    assert steps[0] == KILLED_AFTER + 1
    for name, values in undisturbed[0].items():
        torch.testing.assert_close(resumed[name], values, rtol=0, atol=0)


def test_folder_that_cannot_be_made(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*cannot take checkpoints.*Choose another folder"):
        training(bert, tmp_path / "file" / "run")
