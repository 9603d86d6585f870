"""A GPU that is not there: tensors that say `cuda:0`, hold real numbers on the CPU, and raise where a GPU's would.

`FakeTensorMode` has no numbers, and on a CPU build its backward pass asks for CUDA's own guards and aborts. Here a
wrapper subclass reports the device to Python while torch's C++ goes on with the CPU's kernels, so that forward and
backward passes, optimisers and checkpoints run, and give the very numbers of the CPU: a test compares them.

What is as on a GPU: tensors of both devices may not meet, but for CPU scalars in pointwise operators and CPU indices;
`.numpy()`, `numpy.asarray` and a copy to the CPU that nothing waits for are errors; `.to`, `Module.to` and `device=`
copy. Each wait of the host for the device is noted with the line that asks for it. Numbers that a copy brings to pinned
memory are there only after an event behind it was waited for. What is not: kernels, their order of
sums, streams, memory, and which operators autocast knows (those of the CPU's are taken).
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from accelerate import PartialState
from torch import nn
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("cuda", 0)
_CPU = torch.device("cpu")
_PACKAGE = "/xtremedistil_ner/"
_INDEXED = {"index", "_unsafe_index", "index_put", "index_put_"}
_COPIES = {"copy_", "_to_copy"}
_TAKE_SCALARS = {"fill_", "masked_fill", "masked_fill_", "_foreach_add_", "_foreach_mul_", "index_put", "index_put_"}
"""Operators that take a CPU scalar beside device tensors, though torch does not tag them as pointwise."""
_WAITS = {
    "_local_scalar_dense": "a number is read",
    "equal": "a number is read",
    "is_nonzero": "a number is read",
    "nonzero": "elements are counted",
    "masked_select": "elements are counted",
    "_unique2": "elements are counted",
    "bincount": "elements are counted",
    "repeat_interleave": "elements are counted",
}


class DeviceTensor(torch.Tensor):
    """A tensor that reports `DEVICE`; `numbers` is where they really are."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, numbers):
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.shape,
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device="cpu",  # for C++, which would look for CUDA's guards otherwise
        )
        tensor.numbers = numbers
        return tensor

    @property
    def device(self):
        return DEVICE

    @property
    def is_cuda(self):
        return True

    @property
    def is_cpu(self):
        return False

    def get_device(self):
        return DEVICE.index

    def __repr__(self):
        return f"DeviceTensor({self.numbers!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        _require_one_device(func, name, args, kwargs)
        _note_waits(name, args)
        owners = {}

        def numbers_of(tensor):
            if not isinstance(tensor, DeviceTensor):
                return tensor
            owners[id(tensor.numbers)] = tensor
            return tensor.numbers

        def owner_of(numbers):
            owner = owners.get(id(numbers))
            if owner is None:
                return DeviceTensor(numbers)
            assert owner.shape == numbers.shape, f"{name} changes a shape in place"
            return owner

        named = {key: _each_tensor(numbers_of, value) for key, value in kwargs.items()}
        return _each_tensor(owner_of, func(*_each_tensor(numbers_of, args), **named))


def _each_tensor(function, value):
    """A value of tuples and lists with `function` of each tensor in the tensor's place."""
    if isinstance(value, torch.Tensor):
        return function(value)
    return type(value)(_each_tensor(function, part) for part in value) if isinstance(value, tuple | list) else value


class _Event:
    """A `torch.cuda.Event`: the copies to the host that were under way when it was recorded."""

    def record(self):
        self.copies, _under_way[:] = list(_under_way), []

    def synchronize(self):
        _waits.note("a copy to the CPU")
        for host, numbers in self.copies:
            host.copy_(numbers)


_under_way = []


class Waits(Counter):
    """How often the host waited for the device, by what for and at which line of the package."""

    def note(self, what):
        frame = sys._getframe(1)
        while frame is not None and _PACKAGE not in frame.f_code.co_filename:
            frame = frame.f_back
        place = "elsewhere" if frame is None else f"{frame.f_code.co_filename.split(_PACKAGE)[-1]}:{frame.f_lineno}"
        self[f"{what} at {place}"] += 1


_waits = Waits()


@contextmanager
def pretended_device():
    """One CUDA device in the block, with bf16; what is made or moved there is a `DeviceTensor`. Gives the `Waits`."""
    waits = Waits()
    seen = {
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.current_device": lambda: 0,
        "torch.cuda.set_device": lambda _: None,
        "torch.cuda.Event": _Event,
        "torch.cuda.empty_cache": lambda: None,
        "torch.cuda.synchronize": lambda _=None: None,
        "torch.cuda.get_device_name": lambda _=None: "a pretended device",
        "torch.cuda.is_bf16_supported": lambda including_emulation=True: True,
        "torch.cuda.manual_seed_all": lambda _: None,  # the CPU's generator draws
        "torch.inference_mode": torch.no_grad,  # in it, views of a wrapper cannot be made
        "torch._C._group_tensors_by_device_and_dtype": _group_by_device,
        "torch.is_autocast_enabled": _of_cpu(torch.is_autocast_enabled),
        "torch.get_autocast_dtype": _of_cpu(torch.get_autocast_dtype),
    }
    with ExitStack() as stack:
        for name, function in seen.items():
            stack.enter_context(patch(name, function))
        stack.enter_context(patch.object(torch.autocast, "__init__", _autocast_of_cpu(torch.autocast.__init__)))
        stack.enter_context(patch.object(nn.Module, "to", _swapping(nn.Module.to)))
        stack.enter_context(patch(f"{__name__}._waits", waits))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))  # this build has none
        PartialState._reset_state()
        stack.callback(PartialState._reset_state)
        stack.enter_context(_PythonCalls())
        yield waits


def on_device(tensor):
    """A copy of a CPU tensor on the device."""
    return _Move.apply(tensor, True)


def on_host(tensor):
    """A copy of a tensor's numbers on the CPU; nothing is noted."""
    return tensor.detach().numbers.clone() if isinstance(tensor, DeviceTensor) else tensor.detach().clone()


def places_of(module):
    """Where the parameters, their gradients and the buffers of a module are, by name."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    tensors |= {f"{name}.grad": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {name: tensor.device for name, tensor in tensors.items()}


class _Move(torch.autograd.Function):
    """A copy from one device to the other; its gradient goes the other way."""

    @staticmethod
    def forward(ctx, tensor, to_device):
        ctx.to_device = to_device
        return DeviceTensor(tensor.detach().clone()) if to_device else tensor.detach().numbers.clone()

    @staticmethod
    def backward(ctx, gradient):
        return _Move.apply(gradient, not ctx.to_device), None


class _PythonCalls(TorchFunctionMode):
    """What Python code says about devices, before C++ hears of it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if (own := _METHODS.get(func)) is not None:
            return own(*args, **kwargs)
        is_pinned = kwargs.pop("pin_memory", False)
        if (device := _as_device(kwargs.get("device"))) is None or device.type == "meta":
            made = func(*args, **kwargs)
            return _unwritten(made) if is_pinned else made
        kwargs["device"] = _CPU
        made = func(*args, **kwargs)
        if device.type == "cuda":
            return made if isinstance(made, DeviceTensor) else DeviceTensor(made)
        return made.numbers if isinstance(made, DeviceTensor) else made


def _to(tensor, *args, **kwargs):
    """`Tensor.to`, by whichever of its signatures."""
    if args and isinstance(args[0], torch.Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    is_copied = kwargs.pop("copy", False)
    device, dtype, is_unwatched, memory_format = torch._C._nn._parse_to(*args, **kwargs)
    if device is not None and (device.type == "cuda") != isinstance(tensor, DeviceTensor):
        _note_copy(tensor, device, is_unwatched)
        tensor, is_copied = _Move.apply(tensor, device.type == "cuda"), False
    form = {} if memory_format is None else {"memory_format": memory_format}
    return tensor.to(tensor.dtype if dtype is None else dtype, copy=is_copied, **form)


def _note_copy(tensor, device, is_unwatched):
    if device.type != "cuda":
        assert not is_unwatched, "a copy to the CPU that nothing waits for: its numbers may not be there yet"
        _waits.note("a copy to the CPU")
    elif not (is_unwatched and getattr(tensor, "is_pretended_pinned", False)):
        _waits.note("a copy of unpinned memory")


def _copy_(tensor, source, non_blocking=False):
    if not isinstance(source, DeviceTensor) or isinstance(tensor, DeviceTensor):
        return tensor.copy_(source, non_blocking)
    if not non_blocking:
        return tensor.copy_(_to(source, _CPU))
    assert tensor.is_pretended_pinned, "a copy to memory that is not pinned is waited for"
    _under_way.append((tensor, source.detach().numbers.clone()))
    return tensor


def _unwritten(tensor):
    """Pinned memory with what nobody wants in it."""
    tensor.fill_(float("nan") if tensor.is_floating_point() else -1)
    tensor.is_pretended_pinned = True
    return tensor


def _pinned(tensor, *_):
    copy = tensor.clone()
    copy.is_pretended_pinned = True
    return copy


def _refusing(method):
    def refuse(tensor, *args, **kwargs):
        if isinstance(tensor, DeviceTensor):
            raise TypeError(
                "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory."
            )
        return method(tensor, *args, **kwargs)

    return refuse


def _of_numbers(method, *, waits=False):
    """A method that gives no tensor and needs the memory itself."""

    def call(tensor, *args, **kwargs):
        if not isinstance(tensor, DeviceTensor):
            return method(tensor, *args, **kwargs)
        if waits:
            _waits.note("a number is read")
        return method(tensor.numbers, *args, **kwargs)

    return call


_METHODS = {
    torch.Tensor.to: _to,
    torch.Tensor.copy_: _copy_,
    torch.Tensor.cpu: lambda tensor: _to(tensor, _CPU),
    torch.Tensor.cuda: lambda tensor: _to(tensor, DEVICE),
    torch.Tensor.pin_memory: _pinned,
    torch.Tensor.numpy: _refusing(torch.Tensor.numpy),
    torch.Tensor.__array__: _refusing(torch.Tensor.__array__),
    torch.Tensor.tolist: _of_numbers(torch.Tensor.tolist, waits=True),
    torch.Tensor.data_ptr: _of_numbers(torch.Tensor.data_ptr),
    torch.Tensor.untyped_storage: _of_numbers(torch.Tensor.untyped_storage),
}


def _as_device(value):
    return torch.device(value) if isinstance(value, torch.device | str) else None


def _require_one_device(func, name, args, kwargs):
    if name in _COPIES:
        return
    takes_scalars = torch.Tag.pointwise in func.tags or name in _TAKE_SCALARS

    def require_device(tensor):
        if not isinstance(tensor, DeviceTensor) and not (takes_scalars and tensor.dim() == 0):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {func} got cuda:0 and cpu")

    checked = (args[0], args[2:]) if name in _INDEXED and isinstance(args[0], DeviceTensor) else args
    _each_tensor(require_device, (checked, tuple(kwargs.values())))


def _note_waits(name, args):
    if name in _WAITS:
        _waits.note(_WAITS[name])
    if name in _INDEXED and isinstance(args[0], DeviceTensor):
        indices, values = [index for index in args[1] if index is not None], args[2:3]
        is_fill = bool(values) and values[0].numel() == 1
        if not is_fill and any(index.dtype == torch.bool for index in indices):
            _waits.note("elements are counted")
        if any(not isinstance(tensor, DeviceTensor) for tensor in (*indices, *values)):
            _waits.note("a copy of unpinned memory")


def _group_by_device(lists, with_indices=False):
    """The groups of optimisers and of clipping, under the device that the tensors report."""
    places = {tensor.device for tensors in lists for tensor in tensors if tensor is not None and tensor.dim()}
    assert len(places) < 2, f"parameters, gradients or moments on {places}"
    groups = _GROUP(lists, with_indices)
    return {(next(iter(places), device), dtype): group for (device, dtype), group in groups.items()}


_GROUP = torch._C._group_tensors_by_device_and_dtype


def _autocast_of_cpu(original):
    def init(self, device_type, *args, **kwargs):
        original(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    return init


def _of_cpu(original):
    return lambda device_type="cuda": original("cpu" if device_type == "cuda" else device_type)


def _swapping(original):
    """`Module.to` that puts the moved numbers into the parameter itself, as it does between real devices."""

    def to(self, *args, **kwargs):
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return original(self, *args, **kwargs)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    return to
