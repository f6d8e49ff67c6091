"""The Triton kernels against the definition, on a GPU or in Triton's interpreter."""

import pytest
import torch

from airtrack.nets.canon import Canon, shifted_sum, within

try:
    from triton import knobs

    from airtrack.nets.canon_triton import _Taps
except ImportError:
    reason = "needs triton (pip install triton; TRITON_INTERPRET=1 runs it without a GPU)"
    pytest.skip(reason, allow_module_level=True)
if not torch.cuda.is_available() and not knobs.runtime.interpret:
    pytest.skip("needs a GPU, or TRITON_INTERPRET=1 in the environment", allow_module_level=True)
DEVICE = "cpu" if knobs.runtime.interpret else "cuda"


def draw(*shape, seed=1, dtype=torch.float32):
    drawn = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return drawn.to(DEVICE, dtype)


def segments(B, T, seed=0):
    """Documents of a few tokens each; the first row's are all one, and in the last row numbers come back."""
    documents = torch.randint(3, (B, T), generator=torch.Generator().manual_seed(seed)).eq(0).cumsum(1)
    documents[0] = 7
    documents[-1] %= 2
    return documents.to(DEVICE)


def both(x, weight, documents, g):
    """[y, gx, gw] of the kernels, and in double precision of the definition at the same rounded numbers."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = _Taps.apply(x, weight, documents)
    ours = [y, *torch.autograd.grad(y, [x, weight], g)]
    x, weight = x.detach().double().requires_grad_(), weight.detach().double().requires_grad_()
    whole = None if documents is None else within(documents, x.dtype, len(weight))
    y = shifted_sum(x, weight, whole)
    return ours, [y, *torch.autograd.grad(y, [x, weight], g.double())]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(3, 1, 5), (2, 3, 16), (1, 4, 130), (3, 33, 7), (2, 150, 33)])
@pytest.mark.parametrize("kernel", [2, 3, 4, 8])
def test_is_the_definition(kernel, shape, packed):
    documents = segments(*shape[:2]) if packed else None
    for ours, exact in zip(*both(draw(*shape), draw(kernel, shape[2]), documents, draw(*shape, seed=2))):
        assert ours.shape == exact.shape
        assert (ours - exact).abs().max() <= 1e-5 * max(1, exact.abs().max())


@pytest.mark.parametrize(
    ("dtype", "step"),
    [
        (torch.float16, 2**-11),
        (torch.bfloat16, 2**-7 if DEVICE == "cpu" else 2**-8),
    ],  # the interpreter cuts bfloat16 off
)
def test_half_precision_rounds_once(dtype, step):
    x, g, weight = draw(2, 70, 33, dtype=dtype), draw(2, 70, 33, seed=2, dtype=dtype), draw(4, 33, seed=3)
    (y, gx, gw), exact = both(x, weight, segments(2, 70), g)
    assert y.dtype == gx.dtype == dtype
    assert gw.dtype == torch.float32
    for ours, true in zip((y, gx), exact):
        assert ((ours - true).abs() <= step * true.abs() + 1e-6).all()
    assert (gw - exact[2]).abs().max() <= 1e-5 * exact[2].abs().max()


def test_other_layouts():
    x, g, weight = draw(2, 5, 9).transpose(1, 2), draw(1, 1, 1).expand(2, 9, 5), draw(5, 4).T
    for ours, exact in zip(*both(x, weight, segments(2, 9).T.contiguous().T, g)):
        assert (ours - exact).abs().max() <= 1e-5 * max(1, exact.abs().max())


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 5, 3)])
def test_no_tokens(shape):
    (y, gx, gw), _ = both(draw(*shape), draw(4, 3), None, draw(*shape))
    assert y.shape == gx.shape == shape
    assert gw.abs().max() == 0


def test_the_same_twice_to_the_last_bit():
    arguments = draw(2, 150, 40), draw(4, 40), segments(2, 150), draw(2, 150, 40, seed=2)
    for first, second in zip(both(*arguments)[0], both(*arguments)[0]):
        assert torch.equal(first, second)


@pytest.mark.parametrize("packed", [False, True])
def test_second_derivatives_are_those_of_the_definition(packed):
    documents = segments(2, 9) if packed else None
    whole = within(documents, torch.float32) if packed else None

    def curvature(f):
        x, weight = draw(2, 9, 3).requires_grad_(), draw(4, 3).requires_grad_()
        first = torch.autograd.grad(f(x, weight).tanh().square().sum(), [x, weight], create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), [x, weight])

    ours = curvature(lambda x, weight: _Taps.apply(x, weight, documents))
    for mine, plain in zip(ours, curvature(lambda x, weight: shifted_sum(x, weight, whole))):
        assert torch.allclose(mine, plain, rtol=1e-4, atol=1e-5)


def test_torch_func_sees_through():
    x, weight = draw(4, 6, 2), draw(4, 2)

    def loss(weight, row):
        return _Taps.apply(row[None], weight, None).pow(3).sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(weight, x)
    for i in range(4):
        assert torch.allclose(each[i], torch.func.grad(loss)(weight, x[i]), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU: a layer uses the kernels nowhere else")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_on_the_gpu_uses_them(dtype):
    canon, documents = Canon(8).to(DEVICE), segments(2, 50)
    x = draw(2, 50, 8, dtype=dtype).requires_grad_()
    y = canon(x, documents)
    assert type(y.grad_fn).__name__ == "TapsBackward"
    exact = x.double() + shifted_sum(x.double(), canon.weight.double(), within(documents, torch.float64))
    assert ((y - exact).abs() <= torch.finfo(dtype).eps * exact.abs() + 1e-6).all()
