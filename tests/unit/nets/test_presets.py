"""Published sizes, by their published numbers of parameters."""

import pytest

from airtrack.core.part import SpecError
from airtrack.nets.decoder import Decoder

LLAMA2, LLAMA3 = 32_000, 128_256  # vocabularies of the releases


@pytest.mark.parametrize(
    ("name", "vocab", "published"),
    [  # PhysicsLM4, canon_llama_results/table-params.png
        ("llama-1B", LLAMA2, "1.36B"),
        ("llamacanon-1B", LLAMA2, "1.37B"),
        ("llama-3B", LLAMA2, "3.14B"),
        ("llama-8B", LLAMA3, "8.03B"),  # Llama 3's own 8,030,261,248
    ],
)
def test_released_models_have_the_published_size(name, vocab, published):
    assert f"{Decoder.preset(name).count(vocab) / 1e9:.2f}B" == published


def test_gpt2_small_is_gpt2_without_its_table_of_positions():
    assert Decoder.preset("gpt2-12-12").count(50_257) == 124_439_808 - 1024 * 768


@pytest.mark.parametrize("size", ["8L512D", "12L512D", "8L768D", "12L768D"])
def test_synthetic_transformers_spend_12_squares_of_the_width_a_layer(size):
    layers, width = (int(part) for part in size[:-1].split("L"))
    for family in ("llama", "gpt2rope"):
        decoder = Decoder.preset(f"{family}-{size}")
        weights = decoder.count(1) - (2 * layers + 1) * width - 2 * width  # norms, and one token at both ends
        assert abs(weights / (12 * layers * width**2) - 1) < 0.003  # 8/3 of 512 is rounded down to a multiple of 8


@pytest.mark.parametrize("width", [64, 2048])
def test_large_models_are_counted_as_small_ones_are(width):
    """Large ones are made on torch's meta device."""
    spec = Decoder(layers=2, width=width, heads=2, mlp="none", canon="A")
    assert spec.count(10) == 2 * (4 * width**2 + 4 * width + width) + width + 2 * 10 * width


def test_fields_can_be_replaced():
    assert Decoder.preset("llama-8L512D", canon="AC", layers=2).canon == "AC"
    assert Decoder.preset("llama-8L512D", layers=2).layers == 2


@pytest.mark.parametrize("name", ["llama", "llama-8L512", "lama-8L512D", "llama-2B", "gpt2-12", "gpt2-0-1", ""])
def test_what_is_none_is_refused(name):
    with pytest.raises(SpecError, match="is no preset; the forms are"):
        Decoder.preset(name)
