"""A graph's inputs in buffers on its device that are used again by each batch.

A run that is given arrays allocates their copies on the device each time, and waits for them. Here they are copied into
buffers that stay, by another thread if need be, while the graph runs on other buffers. The output, a few numbers a row,
comes back to the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from er_distill.devices import Device


class Binding:
    """Inputs of one run at a time.

    Parameters
    ----------
    inference : onnxruntime.InferenceSession
    inputs : sequence of str
        Inputs of the graph.
    output : str
        The output that is wanted.
    device : Device
        Where the graph runs.
    """

    def __init__(self, inference: Any, inputs: Sequence[str], output: str, device: Device) -> None:
        self._inference = inference
        self._inputs = inputs
        self._output = output
        self._memory = device.memory
        self._binding = inference.io_binding()
        self._buffers: dict[str, tuple[np.ndarray, Any]] = {}

    def load(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Copy the inputs of the next run to the device."""
        for name in self._inputs:
            values = feeds[name]
            if name not in self._buffers or self._buffers[name][0].size < values.size:
                self._buffers[name] = self._allocated(values)
            host, device = self._buffers[name]
            host[: values.size] = values.ravel()
            device.update_inplace(host)  # whole: what lies behind the batch is not read
            self._binding.bind_input(name, *self._memory, values.dtype.type, values.shape, device.data_ptr())
        self._binding.bind_output(self._output, "cpu")  # anew: one that is bound keeps the shape of its first run

    def run(self) -> np.ndarray:
        """Run the graph on what was loaded, and return its output, flat."""
        self._inference.run_with_iobinding(self._binding)
        return np.ravel(self._binding.copy_outputs_to_cpu()[0])

    def _allocated(self, values: np.ndarray) -> tuple[np.ndarray, Any]:
        """A buffer on the host and one on the device, with some room to grow."""
        from onnxruntime import OrtValue

        size = 1 << max(values.size - 1, 0).bit_length()
        return (
            np.zeros(size, dtype=values.dtype),
            OrtValue.ortvalue_from_shape_and_type([size], values.dtype.type, *self._memory),
        )
