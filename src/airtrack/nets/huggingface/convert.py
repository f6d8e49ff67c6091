"""Load and save models in the layouts of Hugging Face's transformers."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from airtrack.core.part import SpecError, build, name_of, nearest, to_spec
from airtrack.core.streams import Streams
from airtrack.nets.decoder import Decoder, Transformer
from airtrack.nets.huggingface.layout import Layout, Options, Reading, Row
from airtrack.nets.model import TorchLanguageModel
from airtrack.nets.start import scoped

Tensors = Mapping[str, Tensor]

REFUSED = {  # options of transformers that change a forward pass → the values at which they do not
    "sliding_window": (),
    "use_sliding_window": (False,),
    "attn_logit_softcapping": (),
    "final_logit_softcapping": (),
    "logit_scale": (1,),
    "quantization_config": (),
    "num_local_experts": (),
    "is_encoder_decoder": (False,),
}
SHOWN = 3  # tensors that an error message names


def load_huggingface(
    folder: Path | str, *, start: int | None = None, dtype: torch.dtype = torch.float32
) -> TorchLanguageModel:
    """The model in a folder that holds `config.json` and `model.safetensors`, or shards of it with their index.

    start  the id that begins a document: what follows one sees nothing before it; None, as in transformers: a row is
           one document
    dtype  what its weights become

    model_type may be llama, gpt_neox, gpt2, mamba2, or LlamaCanon, GLACanon, GatedDeltaNetCanon, Mamba2Canon as Physics
    of Language Models 4.2 released them. Dropout is left out: nets here have none.

    Raises FileNotFoundError; SpecError for what a configuration asks and nets here have not, and for tensors that are
    missing, not expected, or of another shape.
    """
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return from_state(config, _read_tensors(folder), start=start, dtype=dtype)


def from_state(
    config: Mapping[str, Any], tensors: Tensors, *, start: int | None = None, dtype: torch.dtype = torch.float32
) -> TorchLanguageModel:
    """The same from a configuration (what `config.json` holds) and tensors by their name, both in memory.

    >>> model = TorchLanguageModel.new(Decoder(layers=1, width=8, heads=2, canon="A"), Streams(0), vocab=5, length=4)
    >>> config, tensors = to_state(model)
    >>> config["model_type"], tensors["model.layers.0.canonA.weight"].shape
    ('LlamaCanon', torch.Size([8, 1, 4]))
    >>> torch.equal(from_state(config, tensors).module.head.weight, model.module.head.weight)
    True
    """
    options = Options(config)
    layout = _layout(options.need("model_type"))
    for name, neutral in (REFUSED | dict(layout.neutral)).items():
        if (value := config.get(name)) is not None and value not in neutral:
            alone = f"; only {' or '.join(map(repr, neutral))} can be loaded" if neutral else ""
            raise SpecError(f"{layout.model_type} with {name} = {value!r} is not what nets here compute{alone}")
    reading = layout.read(options)
    with scoped(Streams(0)):
        module = Transformer(reading.net, reading.vocab, reading.length, start, Streams(0)).to(dtype)
    module.load_state_dict(_import(layout, reading, options, module, tensors))
    origin = {"net": to_spec(reading.net), "vocab": reading.vocab, "length": reading.length, "start": start}
    return TorchLanguageModel(module, origin)


def save_huggingface(model: TorchLanguageModel, folder: Path | str, layout: str | None = None) -> None:
    """Write `config.json` and `model.safetensors` into a folder, which is made if need be.

    layout  a model type, as in `load_huggingface`; None: the first that can express the model. transformers itself
            loads llama, gpt_neox, gpt2 and mamba2

    Raises SpecError, before anything is written, for what a layout cannot express. That documents begin at the id
    `start` is told as `bos_token_id` and otherwise forgotten: in transformers a row is one document.
    """
    config, tensors = to_state(model, layout)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights, text = folder / "model.safetensors.part", folder / "config.json.part"
    try:
        text.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
        save_file(dict(tensors), weights, {"format": "pt"})
        weights.replace(weights.with_suffix(""))
        text.replace(text.with_suffix(""))
    finally:
        weights.unlink(missing_ok=True)
        text.unlink(missing_ok=True)


def to_state(model: TorchLanguageModel, layout: str | None = None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of a model, as `save_huggingface` writes them."""
    if model.origin is None:
        raise SpecError("this model does not know how it was built; give TorchLanguageModel its origin to save it")
    net, origin, module = build("net", model.origin["net"]), model.origin, model.module
    if not isinstance(net, Decoder):
        raise SpecError(f"these layouts hold decoders, and this is {name_of(type(net))}; use model.save(folder)")
    wanted, reasons = [_layout(layout)] if layout else list(_layouts().values()), {}
    for candidate in wanted:
        try:
            return _export(candidate, net, module, origin)
        except SpecError as error:
            reasons[candidate.model_type] = error.fact
    fitting = [name for name, other in _layouts().items() if layout and _fits(other, net, module, origin)]
    fact = "; ".join(f"{name} {reason}" for name, reason in reasons.items())
    remedy = f"the layout {' or '.join(fitting)}" if fitting else "model.save(folder)"
    raise SpecError(f"{fact}; use {remedy}" if layout else f"no layout expresses this model: {fact}; use {remedy}")


@cache
def _layouts() -> dict[str, Layout]:
    """Model type → layout, of every file of this package."""
    package = __name__.rpartition(".")[0]
    files = sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)]))
    modules = [importlib.import_module(f"{package}.{name}") for name in files if f"{package}.{name}" != __name__]
    found = [layout for module in modules for layout in getattr(module, "LAYOUTS", ())]
    return {layout.model_type: layout for layout in sorted(found, key=lambda l: l.model_type != "llama")}


def _layout(name: str) -> Layout:
    if name not in _layouts():
        raise SpecError(f"no layout is named {name!r}{nearest(name, _layouts())}")
    return _layouts()[name]


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        return load_file(whole)
    if not index.exists():
        there = ", ".join(sorted(p.name for p in folder.iterdir())) or "nothing"
        fact = f"{folder} has no model.safetensors, and no index of shards; there is {there}"
        raise FileNotFoundError(f"{fact}. Other formats: load them with transformers, and save_pretrained them again")
    shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    return {name: tensor for shard in shards for name, tensor in load_file(folder / shard).items()}


# ------------------------------------------------------------------------------------------------------------ tensors


def _table(layout: Layout, net: Decoder, options: Options, names: set[str]) -> list[Row]:
    """The rows of the parameters that are there, blocks and suffixes written out."""
    found = []
    for row in layout.rows(net, options):
        for n in range(net.layers) if "{n}" in row.ours else [0]:
            for suffix in ("", ".weight", ".bias"):
                ours = row.ours.format(n=n) + suffix
                if ours in names:
                    found.append(row._replace(ours=ours, theirs=tuple(t.format(n=n) + suffix for t in row.theirs)))
    return found


def _import(
    layout: Layout, reading: Reading, options: Options, module: Transformer, tensors: Tensors
) -> dict[str, Tensor]:
    own = module.state_dict()
    rows = _table(layout, reading.net, options, {*own, "head.weight"})
    given = {name: tensor for name, tensor in tensors.items() if not re.search(layout.spare, name)}
    for pattern, replacement in layout.renamed.items():
        given = {re.sub(pattern, replacement, name): tensor for name, tensor in given.items()}
    head = next(row for row in rows if row.ours == "head.weight")
    if "head.weight" not in own:  # tied
        rows.remove(head)
        second = given.pop(head.theirs[0], None)
        first = given.get(next(row.theirs[0] for row in rows if row.ours == "tokens.weight"))
        if second is not None and first is not None and not torch.equal(second, first):
            fact = f"tie_word_embeddings is true, and {head.theirs[0]} differs from the embedding of tokens"
            raise SpecError(f"{fact}; set it to false, or leave the tensor out")
    shapes = {name: part.shape for row in rows for name, part in zip(row.theirs, row.split(own[row.ours]))}
    problems = _told("missing", [name for name in shapes if name not in given])
    problems += _told("not expected", [name for name in given if name not in shapes])
    there = {name: tuple(shape) for name, shape in shapes.items() if name in given}
    wrong = [
        f"{name} has {tuple(given[name].shape)}, and by the configuration {shape}"
        for name, shape in there.items()
        if tuple(given[name].shape) != shape
    ]
    problems += _told("of another shape", wrong)
    if problems:
        raise SpecError(f"these tensors are no {layout.model_type} of this configuration: {'; '.join(problems)}")
    return {row.ours: row.join([given[name] for name in row.theirs]) for row in rows}


def _told(what: str, names: list[str]) -> list[str]:
    more = f", … ({len(names)} in all)" if len(names) > SHOWN else ""
    return [f"{what}: {', '.join(names[:SHOWN])}{more}"] if names else []


# ------------------------------------------------------------------------------------------------------------ writing


def _fits(layout: Layout, net: Decoder, module: Any, origin: Mapping[str, Any]) -> bool:
    try:
        _export(layout, net, module, origin)
    except SpecError:
        return False
    return True


def _export(
    layout: Layout, net: Decoder, module: Any, origin: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    for slot, allowed in layout.parts.items():
        own = getattr(net, slot)
        if type(own) not in allowed:
            names = " or ".join(name_of(cls) for cls in allowed)
            raise SpecError(f"has {names} for {slot}, and this model has {name_of(type(own))}")
    config = {
        "architectures": [layout.architecture],
        "model_type": layout.model_type,
        "vocab_size": origin["vocab"],
        layout.length: origin["length"],
        "bos_token_id": origin["start"],
        "eos_token_id": None,
        "pad_token_id": None,
        "tie_word_embeddings": net.tied,
        "torch_dtype": str(module.tokens.weight.dtype).removeprefix("torch."),
        **layout.write(net, module),
    }
    read = layout.read(Options(config)).net
    ours, theirs = _essence(net, layout.free), _essence(read, layout.free)
    lost = [name for name in ours if name not in theirs or not _same(ours[name], theirs[name])]
    if "canon" in lost:  # then it does not matter how they are made
        lost = [name for name in lost if not name.startswith("canon_layer.")]
    if lost:
        raise SpecError(f"has no place for {', '.join(f'{name}: {_say(ours[name])}' for name in lost)}")
    state = module.state_dict()
    rows = _table(layout, net, Options(config), set(state))
    homeless = sorted(set(state) - {row.ours for row in rows})
    if homeless:
        raise SpecError(f"has no place for {_told('the tensors', homeless)[0]}")
    tensors = {
        name: part.detach().cpu().contiguous().clone()
        for row in rows
        for name, part in zip(row.theirs, row.split(state[row.ours]))
    }
    return config, tensors


def _essence(net: Decoder, free: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a net by dotted name, without those that matter before training only, or stand in the tensors."""
    flat: dict[str, Any] = {}

    def visit(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                visit(inner, f"{path}.{name}" if path else str(name))
        else:
            flat[path] = value

    visit(to_spec(net), "")
    if "mixer.groups" in flat:
        flat["mixer.groups"] = flat["mixer.groups"] or net.heads
    if not flat.get("mixer.qk_norm", True):
        flat.pop("mixer.eps", None)
    hidden = ("mlp.expand", "mlp.multiple")  # the number of hidden channels stands in the tensors
    skipped = ("apart", "canon_layer.start", "canon_layer.frozen", *hidden, *free)
    unused = "canon_layer." if not net.canon else "-"
    return {name: value for name, value in flat.items() if name not in skipped and not name.startswith(unused)}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, (int, float)):
        return math.isclose(a, b, rel_tol=1e-9)
    return a == b


def _say(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
