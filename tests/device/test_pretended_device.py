"""The pretended device itself: it gives the CPU's numbers, and raises where a GPU would."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from support.pretended_device import DEVICE, on_device, on_host, places_of, pretended_device
from torch import nn

pytestmark = pytest.mark.usefixtures("waits")


def numbers(*shape):
    return torch.arange(float(np.prod(shape))).reshape(shape)


def test_what_is_made_there_says_so_and_what_is_computed_from_it_too():
    made = [
        torch.zeros(2, device="cuda"),
        numbers(2).to(DEVICE),
        numbers(2).cuda(),
        torch.tensor([1, 2], device="cuda:0"),
    ]
    made += [made[0] + 1, made[1][0], made[1].new_zeros(3), torch.zeros_like(made[0]), made[0].bool(), made[0].detach()]
    assert {tensor.device for tensor in made} == {DEVICE}
    assert all(tensor.is_cuda and not tensor.is_cpu for tensor in made)
    assert torch.zeros_like(made[0], device="cpu").device.type == made[1].cpu().device.type == "cpu"
    assert made[0].to(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


def test_a_copy_shares_no_memory_with_what_it_is_of():
    source = numbers(3)
    copied = source.to(DEVICE)
    source.zero_()
    assert on_host(copied).tolist() == [0, 1, 2]
    back = copied.cpu()
    copied.add_(5)
    assert back.tolist() == [0, 1, 2]
    assert copied.to(DEVICE) is copied


@pytest.mark.parametrize(
    "meet",
    [
        lambda here, there: here + there,
        lambda here, there: here + there.sum(),
        lambda here, there: there.add_(here),
        lambda here, there: torch.cat([here, there]),
        lambda here, there: torch.stack([here[0], there[0]]),
        lambda here, there: there.index_select(0, torch.tensor([0])),
        lambda here, there: there.gather(0, torch.tensor([0])),
        lambda here, there: here[torch.tensor([0]).to(DEVICE)],
        lambda here, there: there.index_put_((torch.tensor([0, 1]),), here[:2]),
        lambda here, there: nn.functional.embedding(torch.tensor([0]), there[:, None]),
        lambda here, there: nn.functional.cross_entropy(there[None], torch.tensor([0])),
        lambda here, there: torch.where(here > 0, there, 0.0),
        lambda here, there: nn.Linear(3, 1)(there),
        lambda here, there: nn.Linear(3, 1).to(DEVICE)(here),
    ],
)
def test_tensors_of_both_devices_do_not_meet(meet):
    with pytest.raises(RuntimeError, match="on the same device"):
        meet(numbers(3), numbers(3).to(DEVICE))


def test_cpu_scalars_and_cpu_indices_are_taken_as_cuda_takes_them():
    there, one, place = numbers(3).to(DEVICE), torch.tensor(1.0), torch.tensor([2, 0])
    found = [there + one, there * one, there.clamp(min=one), there[place], there.masked_fill(there > 1, one)]
    there[place] = 7
    there[there > 8] = one
    assert {tensor.device for tensor in (*found, there)} == {DEVICE}
    assert on_host(found[3]).tolist() == [2, 0]
    assert on_host(there).tolist() == [7, 1, 7]


@pytest.mark.parametrize("read", [lambda t: t.numpy(), np.asarray, lambda t: t.detach().numpy()])
def test_numpy_does_not_reach_the_device(read):
    with pytest.raises(TypeError, match="to numpy"):
        read(numbers(3).to(DEVICE))
    assert read(numbers(3).to(DEVICE).cpu()).tolist() == [0, 1, 2]


def test_a_copy_to_the_cpu_that_nothing_waits_for_is_a_mistake():
    with pytest.raises(AssertionError, match="nothing waits for"):
        numbers(3).to(DEVICE).to("cpu", non_blocking=True)


def test_views_and_writes_in_place_are_those_of_the_cpu():
    there = numbers(2, 3).to(DEVICE)
    there.T[1:].mul_(10)
    there.view(-1)[0] = 5
    there += 1
    assert on_host(there).tolist() == [[6, 11, 21], [4, 41, 51]]


def small_network():
    torch.manual_seed(0)
    layers = [nn.Embedding(5, 4), nn.LSTM(4, 3, batch_first=True), nn.Linear(3, 5, bias=False)]
    layers[2].weight = nn.Parameter(torch.randn(5, 3))
    return nn.ModuleList(layers)


def run(network, ids):
    embedding, lstm, linear = network
    states, _ = lstm(nn.functional.dropout(embedding(ids), 0.5))
    return nn.functional.cross_entropy(linear(states).flatten(0, 1), ids.flatten())


def test_gradients_and_updates_are_the_cpus_bit_by_bit():
    """Dropout draws from the CPU's generator, and the kernels are the CPU's."""
    networks = [small_network(), small_network().to(DEVICE)]
    ids = torch.tensor([[0, 1, 2], [3, 4, 0]])
    for network in networks:
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, fused=True)
        for step in range(3):
            torch.manual_seed(step)
            optimizer.zero_grad()
            run(network, ids if network is networks[0] else ids.to(DEVICE)).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 0.1)
            optimizer.step()
    assert set(places_of(networks[1]).values()) == {DEVICE}
    for ours, other in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(on_host(other), on_host(ours)), "weights"
        assert torch.equal(on_host(other.grad), on_host(ours.grad)), "gradients"
    assert {moment.device for values in optimizer.state.values() for moment in values.values()} == {DEVICE}


def test_a_module_moves_there_and_back_with_its_parameters_their_ties_and_its_modes():
    network = small_network().append(nn.Linear(3, 5, bias=False)).append(nn.BatchNorm1d(2))
    network[3].weight = network[2].weight
    network[2].weight.requires_grad_(False)
    before, ids = list(network.parameters()), list(map(id, network.parameters()))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for device in (DEVICE, DEVICE, torch.device("cpu"), DEVICE):
        network.to(device)
        assert set(places_of(network).values()) == {device}
        assert list(map(id, network.parameters())) == ids and network[3].weight is network[2].weight
        assert [p.requires_grad for p in network.parameters()] == [p.requires_grad for p in before]
        assert all(isinstance(p, nn.Parameter) for p in network.parameters())
    copied = copy.deepcopy(network)
    copied[0].weight.data.zero_()
    network.load_state_dict(state)
    assert torch.equal(on_host(network[0].weight), state["0.weight"])
    assert set(places_of(copied).values()) == {DEVICE}


def test_a_network_that_was_trained_may_be_moved_again():
    network, ids = small_network().to(DEVICE), torch.tensor([[0, 1]])
    run(network, ids.to(DEVICE)).backward()
    network.to(DEVICE)
    run(network, ids.to(DEVICE)).backward()
    assert set(places_of(network.to("cpu")).values()) == {torch.device("cpu")}


def test_a_gradient_comes_back_through_a_move():
    source = numbers(3).requires_grad_()
    (source.to(DEVICE) * 2).sum().backward()
    assert source.grad.tolist() == [2, 2, 2] and source.grad.device.type == "cpu"
    there = on_device(numbers(3)).requires_grad_()
    (there.cpu() * 3).sum().backward()
    assert there.grad.device == DEVICE


@pytest.mark.parametrize("is_enabled", [True, False])
def test_autocast_of_the_device_is_the_devices(is_enabled):
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=is_enabled):
        assert torch.is_autocast_enabled("cuda") == is_enabled
        product = numbers(2, 2).to(DEVICE) @ numbers(2, 2).to(DEVICE)
    assert product.dtype == (torch.bfloat16 if is_enabled else torch.float32)


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        (lambda t: t + t.sum(), []),
        (lambda t: t.index_select(0, numbers(1).long().pin_memory().to(DEVICE, non_blocking=True)), []),
        (lambda t: t.masked_fill(t > 1, 0.0), []),
        (lambda t: t.__setitem__(t > 1, torch.zeros((), device=DEVICE)), []),
        (lambda t: float(t[0]), ["a number is read"]),
        (lambda t: bool(t[0] > 1), ["a number is read"]),
        (lambda t: t.tolist(), ["a number is read"]),
        (lambda t: t[t > 1], ["elements are counted"]),
        (lambda t: t.nonzero(), ["elements are counted"]),
        (lambda t: t.cpu(), ["a copy to the CPU"]),
        (lambda t: t[torch.tensor([0])], ["a copy of unpinned memory"]),
        (lambda t: numbers(1).to(DEVICE), ["a copy of unpinned memory"]),
        (lambda t: numbers(1).to(DEVICE, non_blocking=True), ["a copy of unpinned memory"]),
    ],
)
def test_each_wait_of_the_host_is_noted(waits, do, expected):
    there = numbers(3).to(DEVICE)
    waits.clear()
    do(there)
    assert [wait.partition(" at ")[0] for wait in waits.elements()] == expected


def test_the_end_of_the_block_puts_everything_back():
    def patched():
        return nn.Module.to, torch.autocast.__init__, torch.cuda.is_available

    before = patched()
    with pretended_device():
        assert all(new is not old for new, old in zip(patched(), before, strict=True))
    assert patched() == before
