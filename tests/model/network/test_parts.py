"""Each part of the model against its definition."""

from __future__ import annotations

import math

import pytest
import torch

from model.config import ModelConfig
from model.network.embedding import Sequences, gap_bucket, gaps_of
from model.network.membership import Membership
from model.network.scan import recurrence, scan
from model.network.spectral import SpectralFilter
from tests.model.models import histories


@pytest.mark.parametrize("length", [1, 31, 32, 33, 100])
def test_chunked_scan_equals_the_recurrence(length: int) -> None:
    """The chunked form gives the same outputs as the definition, also at chunk borders."""
    torch.manual_seed(length)
    u = torch.randn(2, length, 4, 8)
    log_a = -torch.rand(2, length, 4)
    b = torch.randn(2, length, 6)
    c = torch.randn(2, length, 6)
    torch.testing.assert_close(
        scan(u, log_a, b, c), recurrence(u, log_a, b, c)[0], atol=1e-5, rtol=1e-4
    )


def test_filter_is_a_direct_causal_convolution() -> None:
    """Filtering by FFT equals the sum over taps, which sees no event that is yet to come."""
    torch.manual_seed(0)
    filtering = SpectralFilter(ModelConfig(ring_length=8))
    x = torch.randn(2, 30, filtering.response.shape[1])
    taps = filtering.taps()
    direct = torch.zeros_like(x)
    for t in range(30):
        for j in range(min(8, t + 1)):
            direct[:, t] += taps[j] * x[:, t - j]
    torch.testing.assert_close(filtering(x), filtering.norm(x + direct), atol=1e-5, rtol=1e-5)


def test_filter_equals_the_published_one_at_the_end_of_a_window() -> None:
    """At the last position of a window of K events, circular and causal convolution agree."""
    torch.manual_seed(0)
    filtering = SpectralFilter(ModelConfig(ring_length=8))
    x = torch.randn(2, 8, filtering.response.shape[1])
    spectrum = torch.fft.rfft(x, dim=1) * torch.view_as_complex(filtering.response)
    published = filtering.norm(x + torch.fft.irfft(spectrum, n=8, dim=1))
    torch.testing.assert_close(filtering(x)[:, -1], published[:, -1], atol=1e-5, rtol=1e-5)


def test_gap_buckets_count_bits_of_seconds() -> None:
    """0 s, 1 s, 2-3 s, 4-7 s, ... share buckets; the last bucket is the first event's alone."""
    gaps = torch.tensor([-5, 0, 999, 1_000, 1_999, 2_000, 4_000, 1 << 62])
    assert gap_bucket(gaps, 32).tolist() == [0, 0, 0, 1, 1, 2, 3, 30]
    times_ms = torch.tensor([[7, 7, 1007]])
    whole = Sequences(times_ms, times_ms, times_ms, times_ms > 0)
    assert gaps_of(whole, 32).tolist() == [[31, 0, 1]]
    assert gaps_of(whole._replace(before=torch.tensor([[0, 0]])), 32).tolist() == [[31, 0, 1]]
    assert gaps_of(whole._replace(before=torch.tensor([[5, 2_000]])), 32).tolist() == [[2, 0, 1]]


def test_membership_ages_and_logits_by_hand() -> None:
    """A history 5 3 5 2: ages, buckets, biases and exclusion come out as counted by hand."""
    membership = Membership(ModelConfig(ring_length=2, tail_length=1))  # reach 3: ages 0, 1, 2
    with torch.no_grad():
        membership.bias.copy_(torch.tensor([10.0, 20.0, 30.0]))
        membership.often[1] = 7.0  # of two or three
    items = torch.tensor([[5, 3, 5, 2]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    logits = membership.add_to(torch.zeros(1, 4, 6), items, mask, exclude=False)[0]
    expected = torch.zeros(4, 6)
    expected[0, 5] = 10  # age 0
    # ages 0, 1
    expected[1, 3] = 10
    expected[1, 5] = 20
    # 5 again: both occurrences vote, ages 0 and 2
    expected[2, 5] = math.log(math.exp(10) + math.exp(30)) + 7
    expected[2, 3] = 20
    # ages 0, 1, 2; the first 5 is out of reach
    expected[3, 2] = 10
    expected[3, 5] = 20
    expected[3, 3] = 30
    torch.testing.assert_close(logits, expected)
    excluded = membership.add_to(torch.zeros(1, 4, 6), items, mask, exclude=True)[0]
    assert (excluded[3] < -1e8).nonzero().flatten().tolist() == [2, 3, 5]
    candidates = torch.tensor([[[5, 3, 2, 4]]]).expand(1, 2, -1)
    found = membership.find(items, torch.tensor([[2, 3]]), candidates)
    assert found.age.tolist() == [[[0, 1, 3, 3], [1, 2, 0, 3]]]
    assert found.often.tolist() == [[[2, 1, 0, 0], [1, 1, 1, 0]]]
    torch.testing.assert_close(found.bias[0], expected[2:][:, [5, 3, 2, 4]])
    assert membership.bucket(torch.tensor([-1, 0, 1, 2, 3])).tolist() == [3, 0, 1, 2, 3]


def test_padding_changes_nothing() -> None:
    """Masked events at the end add no membership bias."""
    membership = Membership(ModelConfig())
    batch = histories(1, 12, ModelConfig())
    with torch.no_grad():
        membership.bias.fill_(1.0)
        mask = torch.arange(12)[None] < 9
        padded = membership.add_to(torch.zeros(1, 12, 200), batch.items, mask, exclude=False)
        short = membership.add_to(
            torch.zeros(1, 9, 200), batch.items[:, :9], mask[:, :9], exclude=False
        )
    torch.testing.assert_close(padded[:, :9], short)
