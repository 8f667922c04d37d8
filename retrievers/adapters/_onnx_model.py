"""An ONNX model that may come from a stranger: read from bytes, on the CPU, without anything outside of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from packaging.version import Version

from multirecall.errors import DataError, MissingExtra
from multirecall.extras import import_extra
from multirecall.validation import nearest

MOST_BYTES = 2**31 - 1
"""The most bytes of a model; protobuf, the format of ONNX, holds no more."""

TYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
"""The types of inputs that can be given."""

OLDEST = Version("1.22")
"""The oldest release that is let open a model: those before 1.21 know no setting for the folder of external data, and
pass over what they do not know."""

NOWHERE = "/dev/null"
"""The folder of external data: no folder, so that none is read. Without it, it would be the working directory."""


class OnnxModel:
    """A session with one thread, which any number of threads may use at once.

    Attributes:
        shapes: the shape of each input; a name or None stands for any size.
        types: the numpy type of each input.
    """

    def __init__(self, model: bytes, place: str) -> None:
        """Open a model; `place` names it in errors.

        No library of custom operators is registered, and weights outside of the file are not read.

        Raises:
            DataError: it is no ONNX model, is too large, has external data or custom operators, or an input of a type
                that cannot be given.
            MissingExtra: onnxruntime is not installed, or too old.
        """
        if len(model) > MOST_BYTES:
            raise DataError(f"{place}: has {len(model):,} bytes; a model in one file has at most {MOST_BYTES:,}")
        runtime = import_extra("onnxruntime", "onnx")
        if Version(runtime.__version__) < OLDEST:
            raise MissingExtra(
                f"onnx needs onnxruntime {OLDEST} or newer, {runtime.__version__} is installed: "
                "pip install --upgrade 'multirecall[onnx]'"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 4
        options.add_session_config_entry("session.load_model_format", "ONNX")  # by itself it takes its own format too
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", NOWHERE)
        try:
            self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as fault:  # noqa: BLE001 - its errors have no other base
            why = " ".join(str(fault).split())[:300]
            raise DataError(
                f"{place}: cannot be opened: {why}; export it into one file, without external data or custom operators"
            ) from None
        self._place = place
        self.shapes: dict[str, list[Any]] = {one.name: one.shape for one in self._session.get_inputs()}
        odd = [f"{one.name!r} of {one.type}" for one in self._session.get_inputs() if one.type not in TYPES]
        if odd:
            raise DataError(f"{place}: input {odd[0]} cannot be given; use one of {', '.join(TYPES)}")
        self.types = {one.name: np.dtype(TYPES[one.type]) for one in self._session.get_inputs()}

    def check_names(self, given: Sequence[str], output: str | None) -> str:
        """The name of the output to take, `output` or else the only one.

        Raises:
            DataError: `given` are not the inputs of the model, or it has no such output.
        """
        for name in given:
            if name not in self.shapes:
                raise DataError(f"{self._place}: has no input {name!r}; {nearest(name, self.shapes)}")
        for name in self.shapes:
            if name not in given:
                raise DataError(f"{self._place}: input {name!r} is given nothing; name it in inputs")
        outputs = [one.name for one in self._session.get_outputs()]
        if output is None and len(outputs) > 1:
            raise DataError(f"{self._place}: has the outputs {', '.join(outputs)}; name one in output")
        if output is not None and output not in outputs:
            raise DataError(f"{self._place}: has no output {output!r}; {nearest(output, outputs)}")
        return output or str(outputs[0])

    def run(self, inputs: Mapping[str, NDArray[Any]], output: str) -> NDArray[np.float32]:
        """The vectors of the output, float32 (n, V, dim).

        Raises:
            ValueError: the model does not run on these inputs, or its output is no such array.
        """
        try:
            found = np.asarray(self._session.run([output], dict(inputs))[0])
        except Exception as fault:  # noqa: BLE001 - its errors have no other base
            why = " ".join(str(fault).split())[:300]
            raise ValueError(f"{self._place}: does not run on its inputs: {why}") from None
        n = len(next(iter(inputs.values())))
        if found.ndim == 1 and n == 1:
            found = found[None]
        if found.ndim not in (2, 3) or len(found) != n or found.dtype.kind != "f":
            raise ValueError(
                f"{self._place}: output {output!r} is {found.dtype} {found.shape} for {n} users; "
                "it must be floats of shape (users, dim) or (users, vectors, dim)"
            )
        with np.errstate(over="ignore"):
            return found.reshape(n, -1, found.shape[-1]).astype(np.float32)
