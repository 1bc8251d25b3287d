"""How the device tier holds memories: as they are stored where the kernel there decodes them, else as numbers. One file a form."""

from functools import singledispatch

import torch

from kmem.kernels.memory_attention import decodes_slots
from kmem.kstore.quant import Int8, Quantiser, Vq
from kmem.memories import MemorySpec
from kmem.runtime.forms.int8 import Int8Form
from kmem.runtime.forms.plain import PlainForm
from kmem.runtime.forms.protocol import Form
from kmem.runtime.forms.vq import VqForm


def form_for(quantiser: Quantiser | None, spec: MemorySpec, *, device: torch.device, dtype: torch.dtype) -> Form:
    """The form for records of this quantiser, None = numbers, which a model of this type reads on this device."""
    stored = stored_form(quantiser, spec, device) if decodes_slots(device, dtype) else None
    return stored or PlainForm(width=spec.head_dim, dtype=dtype, quantiser=quantiser)


@singledispatch
def stored_form(quantiser: object, spec: MemorySpec, device: torch.device) -> Form | None:
    """The form that holds what this quantiser stores, for a kernel that decodes it; None for a quantiser that no kernel knows."""
    return None


@stored_form.register
def _(quantiser: Int8, spec: MemorySpec, device: torch.device) -> Form | None:
    return Int8Form(width=quantiser.record_shape(spec.profile.slots, spec.head_dim)[-1])


@stored_form.register
def _(quantiser: Vq, spec: MemorySpec, device: torch.device) -> Form | None:
    return VqForm.of(quantiser, device)


__all__ = ["Form", "PlainForm", "form_for", "stored_form"]
