#!/usr/bin/env python3
"""PyTorch beside the GPU suite: the same work on the same card, one JSON line a measurement.

    python3 gpu_peer.py                              everything on card 0
    python3 gpu_peer.py --models 0.5b --work gemm,norm
    python3 gpu_peer.py --device cpu --models tiny   proves that the script runs (torch 1.13 or later)

Work: gemm (the three products of the linear layers), norm, swiglu, attention (forward, forward and backward; torch picks the
kernel), head (log-probs of the vocabulary, forward and backward), adamw (fused where torch has it), step (one OREO step:
policy, frozen reference, value model, token-level KL of the whole vocabulary, both losses, both optimisers), decode (greedy,
batch 1, key-value cache). Numbers are bfloat16; optimiser state is float32 master weights. Each is run eagerly and, where
torch has torch.compile, compiled. Weights and tokens are random: only speed and memory are measured. Times are medians
between two events; a large buffer is cleared before each repeat so that no input is still in the cache.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

MODELS = {
    "tiny": dict(c=32, layers=2, h=4, k=2, d=8, f=48, v=96, batch=2, length=16),
    "0.1b": dict(c=768, layers=12, h=12, k=12, d=64, f=2048, v=32000, batch=8, length=1024),
    "0.5b": dict(c=896, layers=24, h=14, k=2, d=64, f=4864, v=151936, batch=8, length=1024),
    "1.5b": dict(c=1536, layers=28, h=12, k=2, d=128, f=8960, v=151936, batch=8, length=1024),
}
ALL_WORK = ["gemm", "norm", "swiglu", "attention", "head", "adamw", "step", "decode"]
HEAD_CHUNK = 1024  # tokens whose logits are in memory at once; the whole batch would be tens of gigabytes


class Bench:
    """Measures calls on a device and prints what came out."""

    def __init__(self, args):
        self.device = torch.device(args.device)
        self.repeats = args.repeats
        self.cuda = self.device.type == "cuda"
        self.dtype = torch.bfloat16 if self.cuda else torch.float32
        self.flush = torch.empty(128 << 20, dtype=torch.int32, device=self.device) if self.cuda else None
        self.compile = torch.compile if hasattr(torch, "compile") and not args.no_compile else None

    def randn(self, *shape, grad=False, scale=1.0):
        return (torch.randn(*shape, device=self.device, dtype=torch.float32) * scale).to(self.dtype).requires_grad_(grad)

    def time(self, call, warmup=3):
        """Median seconds of a call."""
        for _ in range(warmup):
            call()
        times = []
        for _ in range(self.repeats):
            if self.cuda:
                self.flush.zero_()
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                start.record()
                call()
                end.record()
                end.synchronize()
                times.append(start.elapsed_time(end) * 1e-3)
            else:
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
        return statistics.median(times)

    def report(self, model, work, what, seconds, flops=0.0, bytes_=0.0, compiled=False, **more):
        line = dict(model=model, work=work, what=what, compiled=compiled, microseconds=round(seconds * 1e6, 2))
        if flops:
            line["tflops"] = round(flops / seconds * 1e-12, 3)
        if bytes_:
            line["gbps"] = round(bytes_ / seconds * 1e-9, 2)
        line.update(more)
        print(json.dumps(line), flush=True)

    def both(self, model, work, what, function, call, flops=0.0, bytes_=0.0):
        """Times call(function) eagerly and compiled; a function that cannot be compiled is reported, not fatal."""
        self.report(model, work, what, self.time(lambda: call(function)), flops, bytes_)
        if self.compile is None:
            return
        try:
            compiled = self.compile(function)
            self.report(model, work, what, self.time(lambda: call(compiled)), flops, bytes_, compiled=True)
        except Exception as error:  # torch's compiler fails in many ways
            print(json.dumps(dict(model=model, work=work, what=what, compiled=True, error=str(error)[:200])), flush=True)


def rms_norm(x, w, eps=1e-6):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * w


def swiglu(gate_up):
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def attention(q, k, v, group):
    """Causal attention of [B, heads, L, D]; keys and values are shared by `group` query heads."""
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    length = q.shape[-2]
    mask = torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
    return torch.softmax(scores.masked_fill(~mask, float("-inf")).float(), -1).to(q.dtype) @ v


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Decoder(torch.nn.Module):
    """A Qwen2-like decoder with tied embeddings; without_head leaves the hidden states."""

    def __init__(self, m, bench, value=False):
        super().__init__()
        self.m = m
        kw = dict(device=bench.device, dtype=bench.dtype)
        qkv, parameter = (m["h"] + 2 * m["k"]) * m["d"], torch.nn.Parameter
        self.embedding = parameter(torch.randn(m["v"], m["c"], **kw) * 0.02)
        self.blocks = torch.nn.ModuleList()
        for _ in range(m["layers"]):
            block = torch.nn.Module()
            block.norm1, block.norm2 = parameter(torch.ones(m["c"], **kw)), parameter(torch.ones(m["c"], **kw))
            block.qkv = torch.nn.Linear(m["c"], qkv, **kw)
            block.out = torch.nn.Linear(m["h"] * m["d"], m["c"], bias=False, **kw)
            block.gate_up = torch.nn.Linear(m["c"], 2 * m["f"], bias=False, **kw)
            block.down = torch.nn.Linear(m["f"], m["c"], bias=False, **kw)
            self.blocks.append(block)
        self.norm = parameter(torch.ones(m["c"], **kw))
        self.value = parameter(torch.randn(m["c"], **kw) * 0.02) if value else None
        half = m["d"] // 2
        frequency = 1e6 ** (-torch.arange(half, device=bench.device, dtype=torch.float32) / half)
        angle = torch.arange(4096, device=bench.device, dtype=torch.float32)[:, None] * frequency
        self.cos, self.sin = angle.cos().to(bench.dtype), angle.sin().to(bench.dtype)

    def forward(self, ids, cache=None, position=0):
        m, (batch, length) = self.m, ids.shape
        x = F.embedding(ids, self.embedding)
        cos, sin = self.cos[position:position + length], self.sin[position:position + length]
        for i, block in enumerate(self.blocks):
            qkv = block.qkv(rms_norm(x, block.norm1)).view(batch, length, -1, m["d"]).transpose(1, 2)
            q, k, v = qkv.split([m["h"], m["k"], m["k"]], 1)
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            group = m["h"] // m["k"]
            if cache is None:
                y = attention(q, k, v, group)
            else:
                keys, values = cache[i]
                keys[:, :, position:position + length], values[:, :, position:position + length] = k, v
                k, v = keys[:, :, :position + length], values[:, :, :position + length]
                # One new token sees everything before it.
                k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
                y = torch.softmax((q @ k.transpose(-1, -2)).float() / m["d"] ** 0.5, -1).to(q.dtype) @ v
            x = x + block.out(y.transpose(1, 2).reshape(batch, length, -1))
            x = x + block.down(swiglu(block.gate_up(rms_norm(x, block.norm2))))
        return rms_norm(x, self.norm)


def weights(m):
    """Weights of the linear layers of one token's forward, without the head."""
    qkv = (m["h"] + 2 * m["k"]) * m["d"]
    return m["layers"] * (m["c"] * qkv + m["h"] * m["d"] * m["c"] + 3 * m["c"] * m["f"])


def gemm(b, name, m):
    tokens = m["batch"] * m["length"]
    for layer, k, n in (("qkv", m["c"], (m["h"] + 2 * m["k"]) * m["d"]), ("gate_up", m["c"], 2 * m["f"]), ("down", m["f"], m["c"])):
        x, w, dy = b.randn(tokens, k), b.randn(n, k, scale=0.02), b.randn(tokens, n)
        flops = 2.0 * tokens * k * n
        for what, call in (("forward", lambda: x @ w.t()), ("input gradient", lambda: dy @ w), ("weight gradient", lambda: dy.t() @ x)):
            b.report(name, "gemm", f"{layer} {what} {tokens}x{n}x{k}", b.time(call), flops)


def norm(b, name, m):
    tokens = m["batch"] * m["length"]
    x, w, dy = b.randn(tokens, m["c"], grad=True), b.randn(m["c"], grad=True), b.randn(tokens, m["c"])
    size = x.element_size() * tokens * m["c"]
    b.both(name, "norm", "forward", rms_norm, lambda f: f(x.detach(), w.detach()), bytes_=2 * size)
    b.both(name, "norm", "forward and backward", rms_norm, lambda f: torch.autograd.grad(f(x, w), (x, w), dy), bytes_=6 * size)


def swiglu_work(b, name, m):
    tokens = m["batch"] * m["length"]
    x, dy = b.randn(tokens, 2 * m["f"], grad=True), b.randn(tokens, m["f"])
    size = dy.element_size() * dy.numel()
    b.both(name, "swiglu", "forward", swiglu, lambda f: f(x.detach()), bytes_=3 * size)
    b.both(name, "swiglu", "forward and backward", swiglu, lambda f: torch.autograd.grad(f(x), x, dy), bytes_=8 * size)


def attention_work(b, name, m):
    q = b.randn(m["batch"], m["h"], m["length"], m["d"], grad=True)
    k, v = (b.randn(m["batch"], m["k"], m["length"], m["d"], grad=True) for _ in range(2))
    dy, group = torch.randn_like(q), m["h"] // m["k"]
    one = 1.0 * m["batch"] * m["length"] ** 2 * m["h"] * m["d"]  # a causal product
    b.report(name, "attention", "forward", b.time(lambda: attention(q.detach(), k.detach(), v.detach(), group)), 2 * one)
    b.report(name, "attention", "forward and backward", b.time(lambda: torch.autograd.grad(attention(q, k, v, group), (q, k, v), dy)), 7 * one)


def log_probs(hidden, weight, targets):
    return torch.log_softmax((hidden @ weight.t()).float(), -1).gather(-1, targets[:, None])[:, 0]


def head(b, name, m):
    tokens = m["batch"] * m["length"]
    hidden, weight = b.randn(tokens, m["c"], grad=True), b.randn(m["v"], m["c"], grad=True, scale=0.02)
    targets = torch.randint(m["v"], (tokens,), device=b.device)

    def call(function):
        for at in range(0, tokens, HEAD_CHUNK):
            part = slice(at, at + HEAD_CHUNK)
            torch.autograd.grad(function(hidden[part], weight, targets[part]).sum(), (hidden, weight))

    b.both(name, "head", "log-probs, forward and backward", log_probs, call, flops=6.0 * tokens * m["v"] * m["c"])


def optimizer(parameters, bench):
    options = dict(lr=1e-6, weight_decay=0.0)
    if bench.cuda:
        options["fused"] = True
    return torch.optim.AdamW(parameters, **options)


def adamw(b, name, m):
    p = torch.randn(6 * m["f"], m["c"], device=b.device, requires_grad=True)
    p.grad = torch.randn_like(p)
    step = optimizer([p], b)
    b.report(name, "adamw", "step of float32 weights", b.time(step.step), bytes_=28.0 * p.numel())


class Master:
    """A model's float32 weights and their optimiser; the model computes with copies in its own type."""

    def __init__(self, model, bench):
        self.model = list(model.parameters())
        self.weights = [torch.nn.Parameter(p.detach().float()) for p in self.model]
        self.optimizer = optimizer(self.weights, bench)

    def step(self):
        for own, p in zip(self.weights, self.model):
            own.grad, p.grad = p.grad.float(), None
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            for own, p in zip(self.weights, self.model):
                p.copy_(own)


def oreo_step(b, name, m, compiled):
    policy, reference, value = Decoder(m, b), Decoder(m, b).requires_grad_(False), Decoder(m, b, value=True)
    masters = [Master(policy, b), Master(value, b)]
    if compiled:
        policy, reference, value = (b.compile(x) for x in (policy, reference, value))
    tokens = m["batch"] * m["length"]
    ids = torch.randint(m["v"], (m["batch"], m["length"] + 1), device=b.device)
    given, targets = ids[:, :-1], ids[:, 1:].reshape(-1)
    rewards, beta, kl_weight = torch.ones(m["batch"], 1, device=b.device), 0.03, 0.01
    plain = getattr(value, "_orig_mod", value)

    def chunk(h, w, r, rw, t):
        p, q = torch.log_softmax((h @ w.t()).float(), -1), torch.log_softmax((r @ rw.t()).float(), -1)
        return p.gather(-1, t[:, None])[:, 0], q.gather(-1, t[:, None])[:, 0], (p.exp() * (p - q)).sum(-1)

    def step():
        hidden = policy(given).reshape(tokens, -1)
        with torch.no_grad():
            other = reference(given).reshape(tokens, -1)
        weight, other_weight = (getattr(x, "_orig_mod", x).embedding for x in (policy, reference))
        parts = [torch.utils.checkpoint.checkpoint(chunk, hidden[i:i + HEAD_CHUNK], weight, other[i:i + HEAD_CHUNK], other_weight, targets[i:i + HEAD_CHUNK], use_reentrant=False)
                 for i in range(0, tokens, HEAD_CHUNK)]
        logp, refp, kl = (torch.cat(x).view(m["batch"], -1) for x in zip(*parts))
        values = (value(given).float() @ plain.value.float())
        ratio = logp - refp
        suffix = ratio.flip(1).cumsum(1).flip(1)
        value_loss = (values - rewards + beta * suffix.detach()).pow(2).mean()
        policy_loss = (values.detach() - rewards + beta * (ratio + (suffix - ratio).detach())).pow(2).mean() + kl_weight * kl.mean()
        (value_loss + policy_loss).backward()
        for p in plain.parameters():
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        for master in masters:
            master.step()

    if b.cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = b.time(step, warmup=2)
    body, heads = weights(m), m["v"] * m["c"]
    pairs = 2.0 * m["layers"] * m["length"] * m["h"] * m["d"]  # causal attention of a token, forward
    # Forward is one, backward two; the reference has a forward only. What is computed again is not counted.
    flops = tokens * ((2.0 * body + pairs) * 7 + 2.0 * heads * 4)
    memory = torch.cuda.max_memory_allocated() if b.cuda else 0
    b.report(name, "step", "oreo, full KL", seconds, flops, compiled=compiled, tokens_per_second=round(tokens / seconds, 1), peak_bytes=memory)


def step(b, name, m):
    oreo_step(b, name, m, False)
    if b.compile is not None:
        try:
            oreo_step(b, name, m, True)
        except Exception as error:
            print(json.dumps(dict(model=name, work="step", compiled=True, error=str(error)[:200])), flush=True)


@torch.no_grad()
def decode(b, name, m):
    prompt, new = min(m["length"], 128), 16 if not b.cuda else 128
    model = Decoder(m, b)
    cache = [(b.randn(1, m["k"], prompt + new, m["d"]), b.randn(1, m["k"], prompt + new, m["d"])) for _ in range(m["layers"])]
    token = torch.zeros(1, 1, dtype=torch.long, device=b.device)

    def run():
        ids = token
        for i in range(new):
            ids = (model(ids, cache, prompt + i)[:, -1] @ model.embedding.t()).argmax(-1, keepdim=True)

    seconds = b.time(run, warmup=1) / new
    size = model.embedding.element_size() * (weights(m) + m["v"] * m["c"])
    b.report(name, "decode", "batch 1, greedy, eager", seconds, bytes_=float(size), tokens_per_second=round(1 / seconds, 2))


WORK = dict(gemm=gemm, norm=norm, swiglu=swiglu_work, attention=attention_work, head=head, adamw=adamw, step=step, decode=decode)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--device", default="cuda")
    p.add_argument("--models", default="0.1b,0.5b,1.5b", help="names, with commas: " + ", ".join(MODELS))
    p.add_argument("--work", default=",".join(ALL_WORK), help="names, with commas: " + ", ".join(ALL_WORK))
    p.add_argument("--repeats", type=int, default=9)
    p.add_argument("--no-compile", action="store_true")
    args = p.parse_args()
    for name in args.models.split(","):
        if name not in MODELS:
            p.error(f"unknown model {name}")
    for name in args.work.split(","):
        if name not in WORK:
            p.error(f"unknown work {name}")
    import torch.utils.checkpoint  # noqa: F401  (not loaded by torch itself in all versions)
    b = Bench(args)
    card = torch.cuda.get_device_name() if b.cuda else "cpu"
    print(json.dumps(dict(torch=torch.__version__, cuda=torch.version.cuda, card=card)), flush=True)
    for name in args.models.split(","):
        for work in args.work.split(","):
            try:
                WORK[work](b, name, MODELS[name])
            except RuntimeError as error:
                # Out of memory on a small card: the rest is still worth having.
                print(json.dumps(dict(model=name, work=work, error=str(error).splitlines()[0][:200])), flush=True)
            if b.cuda:
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
