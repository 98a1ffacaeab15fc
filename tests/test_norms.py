"""Projections and ascents against slow float64 judgements that share no formula with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmadv import norms
from mmadv.norms import project_l1, project_l2

PROJECTIONS = {"l2": project_l2, "l1": project_l1}
ORDER = {"l2": 2, "l1": 1}


@st.composite
def rows(draw, dtype=np.float64):
    """δ, ε and the room below and above, with entries of zero room, ties and wild scales among them."""
    n, seed = draw(st.integers(1, 12)), draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    batch = draw(st.integers(1, 4))
    delta = random.normal(size=(batch, n)) * 10.0 ** draw(st.integers(-4, 3))
    if draw(st.booleans()):
        delta = np.round(delta, 1)  # ties and zeros
    x = np.clip(random.uniform(-0.3, 1.3, size=(batch, n)), 0, 1)  # some exactly at the ends
    eps = 10.0 ** random.uniform(-3, 1.5, size=batch) * draw(st.sampled_from([0.0, 1.0]))
    if draw(st.booleans()):
        eps[0] = np.inf
    return tuple(torch.from_numpy(part.astype(dtype)) for part in (delta, eps, -x, 1 - x))


def size(vector, norm):
    return np.abs(vector).sum(-1) if norm == "l1" else np.sqrt((vector**2).sum(-1))


@pytest.mark.parametrize("norm", PROJECTIONS)
@settings(max_examples=150, deadline=None)
@given(case=rows(), seed=st.integers(0, 2**32 - 1))
def test_projection_is_the_nearest_feasible_point(norm, case, seed):
    delta, eps, low, high = case
    found = PROJECTIONS[norm](*case).numpy()
    delta, eps, low, high = (part.numpy() for part in case)
    scale = 1 + np.abs(delta).max()
    assert (found >= low).all()
    assert (found <= high).all()
    assert (size(found, norm) <= eps * (1 + 1e-12) + 1e-14).all()
    # p is the projection of δ exactly if (δ − p)·(z − p) ≤ 0 for all feasible z.
    random = np.random.default_rng(seed)
    for sharpness in (0.5, 2.0, 8.0):
        point = np.clip(random.normal(size=(200, *delta.shape)), -1, 1)
        point = np.sign(point) * np.abs(point) ** sharpness * (high - low) * random.uniform(size=(200, 1, 1))
        point = np.clip(point, low, high)
        length = size(point, norm)
        shrink = np.minimum(1, np.divide(eps, length, out=np.ones_like(length), where=length > 0))
        towards = ((delta - found) * (point * shrink[..., None] - found)).sum(-1)
        assert towards.max() <= 1e-9 * scale**2
    # So do its own neighbours on the boundary: moving mass between two entries must not help.
    corners = np.stack(
        [
            np.clip(np.eye(delta.shape[1])[axis] * side * 1e9, low, high)
            for axis in range(delta.shape[1])
            for side in (-1, 1)
        ]
    )
    length = size(corners, norm)
    corners = corners * np.minimum(1, np.divide(eps, length, out=np.ones_like(length), where=length > 0))[..., None]
    assert ((delta - found) * (corners - found)).sum(-1).max() <= 1e-9 * scale**2


@pytest.mark.parametrize("norm", PROJECTIONS)
@settings(max_examples=100, deadline=None)
@given(case=rows(np.float32))
def test_projection_in_float32_lands_feasible_and_stays(norm, case):
    delta, eps, low, high = case
    once = PROJECTIONS[norm](*case)
    assert once.dtype == torch.float32
    slack = norms.slack(norm, delta.shape[1], torch.float32)
    length = size(once.double().numpy(), norm)
    assert (length <= eps.double().numpy() * (1 + 1e-6) + slack).all()
    assert ((once >= low) & (once <= high)).all()
    again = PROJECTIONS[norm](once, eps, low, high)
    assert torch.allclose(again, once, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("norm", PROJECTIONS)
@settings(max_examples=100, deadline=None)
@given(case=rows())
def test_projection_leaves_feasible_points_alone(norm, case):
    delta, eps, low, high = case
    inside = torch.clamp(delta, low, high)
    length = torch.from_numpy(size(inside.numpy(), norm))
    inside = inside * torch.minimum(torch.ones(()), 0.999 * eps / length.clamp_min(1e-300)).unsqueeze(1)
    assert torch.equal(PROJECTIONS[norm](inside, eps, low, high), inside)


@pytest.mark.parametrize("norm", PROJECTIONS)
def test_a_row_is_projected_alike_alone_and_in_a_batch(norm):
    generator = torch.Generator().manual_seed(0)
    for n in (5, 60, 333):
        delta = torch.randn(16, n, generator=generator) * 10 ** torch.linspace(-3, 2, 16).unsqueeze(1)
        x = (torch.rand(16, n, generator=generator) * 1.4 - 0.2).clamp(0, 1)
        eps = torch.rand(16, generator=generator) * 3
        whole = PROJECTIONS[norm](delta, eps, -x, 1 - x)
        alone = [PROJECTIONS[norm](*(part[row : row + 1] for part in (delta, eps, -x, 1 - x))) for row in range(16)]
        assert torch.equal(whole, torch.cat(alone))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_distances(norm):
    delta = torch.tensor([[0.0, -3.0, 4.0], [0.0, 0.0, 0.0]])
    expected = {"linf": 4.0, "l2": 5.0, "l1": 7.0, "l0": 2.0}[norm]
    assert norms.distance(delta, norm).tolist() == [expected, 0.0]
    assert norms.distance(delta[:, None], norm).shape == (2, 1)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_unit_vectors_at_any_scale(norm, scale):
    vector = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    found = norms.unit(vector * scale, norm)
    assert torch.allclose(norms.distance(found, norm), torch.ones(3))
    assert torch.allclose(found, norms.unit(vector, norm), rtol=1e-5, atol=1e-7)
    assert norms.unit(torch.zeros(1, 4), norm).tolist() == [[0.0] * 4]


def test_a_step_of_l1_moves_the_steepest_entries_that_have_room():
    grad = torch.tensor([[3.0, -2.0, 1.0, 0.0], [3.0, -2.0, 1.0, 0.0]])
    low, high = torch.zeros(2, 4) - 0.5, torch.full((2, 4), 0.5)
    high[1, 0] = 0.0  # the steepest has nowhere to go
    assert norms.ascend_l1(grad, low, high, share=0.25).tolist() == [[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0]]
    assert norms.ascend_l1(grad, low, high, share=0.5).tolist() == [[0.5, -0.5, 0.0, 0.0], [0.0, -0.5, 0.5, 0.0]]
    assert norms.ascend_l1(torch.zeros(2, 4), low, high).abs().sum() == 0
