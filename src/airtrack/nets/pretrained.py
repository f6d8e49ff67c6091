"""A model of airtrack as transformers knows models, for tools that drive those, such as lm-evaluation-harness.

Importing this file imports transformers and registers the model type `airtrack`, so that

    import airtrack.nets.pretrained
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)

loads what `AirtrackForCausalLM.save_pretrained` wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from airtrack.core.part import SpecError, build
from airtrack.core.streams import Streams
from airtrack.nets.generation import reordered
from airtrack.nets.model import TorchLanguageModel
from airtrack.nets.protocols import takes

try:
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutputWithPast
except ImportError as error:
    raise ImportError("a model for transformers needs it: pip install transformers") from error


class AirtrackConfig(PretrainedConfig):
    """What builds the model.

    net         specification of a net
    vocab_size  number of token ids
    length      of a row; learned positions are bound to it
    start       the id that begins a document; None: a row is one document
    """

    model_type = "airtrack"

    def __init__(
        self,
        net: Mapping[str, Any] | None = None,
        vocab_size: int = 1,
        length: int = 1,
        start: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.net, self.vocab_size, self.start = net, vocab_size, start
        self.length = self.max_position_embeddings = length  # the second is the name that other tools look for
        kwargs = {"bos_token_id": start, "tie_word_embeddings": False} | kwargs  # our nets tie what they tie themselves
        super().__init__(**kwargs)


class Past:
    """What generation keeps: the cache of `advance` after so many columns."""

    is_compileable = False
    is_croppable = False

    def __init__(self, cache: Any, columns: int) -> None:
        self.cache, self.columns = cache, columns

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.columns

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i goes on from row beam_idx[i]."""
        self.cache = reordered(self.cache, beam_idx)


class AirtrackForCausalLM(PreTrainedModel, GenerationMixin):
    """A net of airtrack in transformers' clothes: forward, loss, generate, save_pretrained, from_pretrained.

    >>> from airtrack.nets.decoder import Decoder
    >>> ours = TorchLanguageModel.new(Decoder(layers=1, width=8, heads=2), Streams(0), vocab=5, length=4)
    >>> model = AirtrackForCausalLM.of(ours)
    >>> model(torch.tensor([[1, 2, 3]])).logits.shape, model.generate(torch.tensor([[1]]), max_new_tokens=2).shape
    (torch.Size([1, 3, 5]), torch.Size([1, 3]))
    """

    config_class = AirtrackConfig
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(self, config: AirtrackConfig, module: nn.Module | None = None) -> None:
        super().__init__(config)
        if module is None:
            if config.net is None:
                raise SpecError("AirtrackConfig has no net: give it the specification of one")
            with torch.device("cpu"):  # from_pretrained builds without memory, and a net may hold more than parameters
                net = build("net", config.net)
                module = net.build(config.vocab_size, Streams(0), length=config.length, start=config.start)
        self.model: nn.Module = cast(nn.Module, module)
        self.post_init()

    @classmethod
    def of(cls, model: TorchLanguageModel, **options: Any) -> AirtrackForCausalLM:
        """The same weights, not a copy. `options` of the configuration, such as eos_token_id and pad_token_id."""
        if model.origin is None:
            raise SpecError("this model does not know how it was built; give TorchLanguageModel its origin")
        origin = model.origin
        config = AirtrackConfig(origin["net"], origin["vocab"], origin["length"], origin["start"], **options)
        config.dtype = next(model.module.parameters()).dtype
        return cls(config, model.module)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Past | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        position_ids: Tensor | None = None,
        return_dict: bool | None = None,
        **unknown: Any,
    ) -> CausalLMOutputWithPast | tuple[Tensor, ...]:
        """Logits [B, T, vocab], the loss if there are labels, and the past if `use_cache`.

        attention_mask   [B, T, those of the past included]: 0 for padding, before a row or behind it, 1 elsewhere
        labels           [B, T], the ids themselves, −100 where none counts: position t is judged by the label t + 1
        use_cache        None: only if there is a past
        logits_to_keep   so many last columns; 0: all
        position_ids     not read: places follow from the mask
        """
        asked = [name for name, value in unknown.items() if value is not None and value is not False]
        if asked:
            raise ValueError(f"a model of airtrack has no {', '.join(asked)}; leave it out")
        done = 0 if past_key_values is None else past_key_values.columns
        cached = past_key_values is not None if use_cache is None else use_cache
        pads = None if done else self._pads(attention_mask, input_ids, cached)
        more = {} if pads is None else {"pads": pads}
        past = None
        if cached or done:
            cache = None if past_key_values is None else past_key_values.cache
            columns = [input_ids] if logits_to_keep == 1 else input_ids.split(1, 1)  # `advance` tells the last column
            told = []
            for column in columns:
                logit, cache = self.model.advance(column, cache, **more)  # type: ignore[operator]
                told.append(logit)
                more = {}
            logits, past = torch.stack(told, 1), Past(cache, done + input_ids.shape[1])
        else:
            logits = self.model(input_ids, **more)
        logits = logits[:, -logits_to_keep:] if logits_to_keep else logits
        loss = None if labels is None else self.loss_function(logits, labels, vocab_size=self.config.vocab_size)
        if return_dict is False:
            return tuple(part for part in (loss, logits, past) if part is not None)  # type: ignore[return-value]
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=past)  # type: ignore[arg-type]

    def _pads(self, mask: Tensor | None, ids: Tensor, cached: bool) -> Tensor | None:
        """How many columns of a row are padding before it; None if there are none."""
        if mask is None or bool(mask.bool().all()):
            return None
        if mask.shape != ids.shape:
            raise ValueError(f"attention_mask has the shape {tuple(mask.shape)}, and the ids {tuple(ids.shape)}")
        real = mask.bool()
        pads = (real.cumsum(1) == 0).sum(1)
        if bool((real.sum(1) != ids.shape[1] - pads).any()):
            behind = (real.flip(1).cumsum(1) == 0).sum(1)
            if bool((real.any(1) & (real.sum(1) != ids.shape[1] - pads - behind)).any()):
                raise ValueError("attention_mask has a hole in a row, and only padding before and behind it is offered")
            if cached:
                raise ValueError("a row that goes on cannot have padding behind it: set padding_side to left")
        if not bool(pads.any()):
            return None
        if not takes(self.model.forward, "pads"):
            fact = f"{type(self.model).__name__} takes no `pads`, so that it cannot leave out padding before a row"
            raise ValueError(f"{fact}; give it rows of one length, or padding behind them")
        return pads

    def get_input_embeddings(self) -> nn.Module:
        return self.model.tokens  # type: ignore[return-value]

    def get_output_embeddings(self) -> None:
        """None, so that transformers ties nothing: our nets do."""

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the net has its starting values when it is built."""

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # ours comes with the first output


AutoConfig.register("airtrack", AirtrackConfig, exist_ok=True)
AutoModelForCausalLM.register(AirtrackConfig, AirtrackForCausalLM, exist_ok=True)
