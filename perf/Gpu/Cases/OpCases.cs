using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.Embedding;
using Bellman.Kernels.Ops.HeadNorm;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Kernels.Ops.Residual;
using Bellman.Kernels.Ops.RmsNorm;
using Bellman.Kernels.Ops.Rope;
using Bellman.Kernels.Ops.Rows;
using Bellman.Kernels.Ops.SwiGlu;
using Bellman.Kernels.Ops.TreeExpansion;
using Bellman.Kernels.Ops.ValueHead;

namespace Bellman.Perf.Gpu.Cases;

/// <summary>All cases, and those of the layers between the products.</summary>
internal static class OpCases
{
    private const double Half = 2, Single = 4;
    private const int Problems = 64;

    /// <summary>Every case of the suite.</summary>
    public static IReadOnlyList<OpCase> All { get; } = [.. Elementwise(), .. Heads(), .. Paged(), .. ProductCases.All(), .. LossCases.All()];

    private static OpCase[] Elementwise() =>
    [
        new("residual", r =>
        {
            Tensor x = r.Half(1, r.T, r.Shape.C), y = r.Half(2, r.T, r.Shape.C), sum = r.HalfOutput("sum", r.T, r.Shape.C);
            return () => Residual.Combine(x, y, 0.5f, sum);
        }, r => [new("residual", 3 * Half * r.T * r.Shape.C)]),
        // The average of the policy's weights.
        new("residual float32", r =>
        {
            Tensor x = r.Single(1, r.T, r.Shape.C), y = r.Single(2, r.T, r.Shape.C), sum = r.SingleOutput("sum", r.T, r.Shape.C), rounded = r.HalfOutput("rounded", r.T, r.Shape.C);
            return () =>
            {
                Residual.Combine(x, y, 0.5f, sum);
                Residual.Combine(x, y, 0.5f, rounded);
            };
        }, r => [new("residual", 3 * Single * r.T * r.Shape.C)]),
        new("rms_norm forward", r =>
        {
            Tensor x = r.Half(1, r.T, r.Shape.C), w = r.Half(2, 1, r.Shape.C), y = r.HalfOutput("y", r.T, r.Shape.C), rstd = r.SingleOutput("rstd", r.T, 1);
            return () => RmsNorm.Forward(x, w, 1e-6f, y, rstd);
        }, r => [new("rms_norm_forward", 2 * Half * r.T * r.Shape.C)]),
        new("rms_norm of a residual sum", r =>
        {
            Tensor x = r.Half(1, r.T, r.Shape.C), y = r.Half(2, r.T, r.Shape.C), w = r.Half(3, 1, r.Shape.C), sum = r.HalfOutput("sum", r.T, r.Shape.C);
            Tensor normed = r.HalfOutput("normed", r.T, r.Shape.C), rstd = r.SingleOutput("rstd", r.T, 1, 1.0 / 64);
            return () => RmsNorm.AddForward(x, y, 1, sum, w, 1e-6f, normed, rstd);
        }, r => [new("rms_norm_add_forward", 4 * Half * r.T * r.Shape.C)]),
        new("rms_norm backward", r =>
        {
            Tensor x = r.Half(1, r.T, r.Shape.C), w = r.Half(2, 1, r.Shape.C), dy = r.Half(3, r.T, r.Shape.C), y = r.Device.Create(r.Device.ActivationType, r.T, r.Shape.C);
            Tensor rstd = r.Device.Create(DType.F32, r.T, 1), dx = r.HalfOutput("dx", r.T, r.Shape.C), dw = r.SingleOutput("dw", 1, r.Shape.C), frozen = r.HalfOutput("dx alone", r.T, r.Shape.C);
            RmsNorm.Forward(x, w, 1e-6f, y, rstd);
            return () =>
            {
                RmsNorm.Backward(dy, x, w, rstd, dx, dw);
                RmsNorm.Backward(dy, x, w, rstd, frozen, default);
            };
        }, r => [new("rms_norm_backward", 4 * Half * r.T * r.Shape.C), new("column_sum_total", Single * r.T / 16 * r.Shape.C)]),
        new("swiglu forward", r =>
        {
            Tensor gateUp = r.Half(1, r.T, 2 * r.Shape.F), y = r.HalfOutput("y", r.T, r.Shape.F);
            return () => SwiGlu.Forward(gateUp, y);
        }, r => [new("swiglu_forward", 3 * Half * r.T * r.Shape.F)]),
        new("swiglu backward", r =>
        {
            Tensor gateUp = r.Half(1, r.T, 2 * r.Shape.F), dy = r.Half(2, r.T, r.Shape.F), d = r.HalfOutput("dGateUp", r.T, 2 * r.Shape.F);
            return () => SwiGlu.Backward(dy, gateUp, d);
        }, r => [new("swiglu_backward", 5 * Half * r.T * r.Shape.F)]),
        new("rope", r =>
        {
            int turned = r.Shape.H + r.Shape.K;
            Tensor qkv = r.Compare("qkv", r.Half(1, r.T, r.Shape.QkvColumns), 1.0 / 64), positions = r.Integers([.. Enumerable.Range(0, r.T).Select(t => t % r.Shape.L)], r.T, 1);
            Tensor cos = r.Single(2, r.Shape.L, r.Shape.D / 2), sin = r.Single(3, r.Shape.L, r.Shape.D / 2);
            return () => Rope.Forward(qkv, turned, r.Shape.D, positions, cos, sin);
        }, r => [new("rope", 2 * Half * r.T * (r.Shape.H + r.Shape.K) * r.Shape.D)]),
        new("embedding", r =>
        {
            Tensor ids = r.Integers([.. Enumerable.Range(0, r.T).Select(t => (int)(t * 7919L % r.Shape.V))], r.T, 1), table = r.Half(1, r.Shape.V, r.Shape.C);
            Tensor y = r.HalfOutput("y", r.T, r.Shape.C), dy = r.Half(2, r.T, r.Shape.C), dTable = r.SingleOutput("dTable", r.Shape.V, r.Shape.C);
            return () =>
            {
                Embedding.Forward(ids, table, 1, y);
                Embedding.Backward(dy, ids, 1, dTable);
            };
        }, r => [new("embedding_forward", 2 * Half * r.T * r.Shape.C), new("embedding_order", Single * r.T * r.T / 8), new("embedding_backward", (Half + 2 * Single) * r.T * r.Shape.C)]),
        new("value_head", r =>
        {
            Tensor hidden = r.Half(1, r.T, r.Shape.C), w = r.Half(2, 1, r.Shape.C), v = r.SingleOutput("values", r.T, 1), dv = r.Single(3, r.T, 1);
            Tensor dh = r.HalfOutput("dHidden", r.T, r.Shape.C), dw = r.SingleOutput("dWeight", 1, r.Shape.C);
            return () =>
            {
                ValueHead.Forward(hidden, w, v);
                ValueHead.Backward(dv, hidden, w, dh, dw);
            };
        }, r => [new("value_head", Half * r.T * r.Shape.C), new("column_sum_total", Single * r.T / 128 * r.Shape.C)]),
        new("rows", r =>
        {
            Tensor x = r.Half(1, r.T, r.Shape.C), y = r.HalfOutput("gathered", r.T, r.Shape.C), z = r.HalfOutput("scattered", r.T, r.Shape.C), copy = r.HalfOutput("copied", r.T, r.Shape.C);
            Tensor ids = r.Integers([.. Enumerable.Range(0, r.T).Select(t => r.T - 1 - t)], r.T, 1);
            return () =>
            {
                Rows.Gather(x, ids, y);
                Rows.Scatter(x, ids, z);
                Rows.CopyFirst(x, copy);
            };
        }, r => [new("rows", 2 * Half * r.T * r.Shape.C)]),
    ];

    private static OpCase[] Heads() =>
    [
        new("head_norm", r =>
        {
            (int h, int k, int d) = (r.Shape.H, r.Shape.K, r.Shape.D);
            Tensor qkv = r.Half(1, r.T, r.Shape.QkvColumns), qw = r.Half(2, 1, d), kw = r.Half(3, 1, d), y = r.HalfOutput("y", r.T, r.Shape.QkvColumns);
            Tensor rstd = r.SingleOutput("rstd", r.T, h + k), dy = r.Compare("dx", r.Half(1, r.T, r.Shape.QkvColumns), 1.0 / 64), dq = r.SingleOutput("dq", 1, d), dk = r.SingleOutput("dk", 1, d);
            return () =>
            {
                HeadNorm.Forward(qkv, qw, kw, h, k, 1e-6f, y, rstd);
                HeadNorm.Backward(dy, qkv, qw, kw, h, k, rstd, dq, dk);
            };
        }, r =>
        {
            double heads = Half * r.T * (r.Shape.H + r.Shape.K) * r.Shape.D, all = Half * r.T * r.Shape.QkvColumns;
            return [new("head_norm_forward", 2 * all), new("head_norm_backward", 3 * heads), new("head_norm_weight", 2 * heads), new("column_sum_total", Single * r.T)];
        }),
        new("attention forward", r =>
        {
            AttentionShape heads = HeadsOf(r);
            Tensor qkv = r.Half(1, r.T, heads.Columns), y = r.HalfOutput("y", r.T, heads.OutputColumns), lse = r.SingleOutput("logSumExp", r.T, heads.Heads), starts = r.Starts();
            Arena scratch = r.Scratch(Attention.ScratchBytes(r.Device, r.T, r.Shape.B, heads));
            return () => Attention.Forward(qkv, heads, starts, y, lse, scratch);
        }, r => [new("attention_forward", 0, 2 * Pairs(r))]),
        new("attention backward", r =>
        {
            AttentionShape heads = HeadsOf(r);
            Tensor qkv = r.Half(1, r.T, heads.Columns), y = r.Device.Create(r.Device.ActivationType, r.T, heads.OutputColumns), lse = r.Device.Create(DType.F32, r.T, heads.Heads);
            Tensor starts = r.Starts(), dy = r.Half(2, r.T, heads.OutputColumns), dqkv = r.HalfOutput("dqkv", r.T, heads.Columns, 1.0 / 32);
            Arena scratch = r.Scratch(Attention.ScratchBytes(r.Device, r.T, r.Shape.B, heads));
            Attention.Forward(qkv, heads, starts, y, lse, scratch);
            return () => Attention.Backward(dy, qkv, heads, starts, y, lse, dqkv, scratch);
        }, r =>
        [
            new("attention_backward_keys", 0, 4 * Pairs(r)), new("attention_backward_queries", 0, 3 * Pairs(r)),
            new("attention_delta", 2 * Half * r.T * r.Shape.H * r.Shape.D),
        ]),
        // What float32 tensors take, with few tokens: it is not for speed.
        new("attention plain", r =>
        {
            AttentionShape heads = HeadsOf(r);
            int tokens = Math.Min(r.T, 128);
            Tensor qkv = r.Single(1, tokens, heads.Columns), y = r.SingleOutput("y", tokens, heads.OutputColumns), lse = r.SingleOutput("logSumExp", tokens, heads.Heads);
            Tensor starts = r.Integers([0, tokens], 2, 1), dy = r.Single(2, tokens, heads.OutputColumns), dqkv = r.SingleOutput("dqkv", tokens, heads.Columns);
            Arena scratch = r.Scratch(Attention.ScratchBytes(r.Device, tokens, 1, heads));
            return () =>
            {
                Attention.Forward(qkv, heads, starts, y, lse, scratch);
                Attention.Backward(dy, qkv, heads, starts, y, lse, dqkv, scratch);
            };
        }, r =>
        [
            new("attention_plain_forward", 0, 2.0 * 128 * 128 * r.Shape.H * r.Shape.D), new("attention_plain_backward", 0, 4.0 * 128 * 128 * r.Shape.H * r.Shape.D),
            new("attention_delta", 2 * Single * 128 * r.Shape.H * r.Shape.D),
        ]),
    ];

    private static OpCase[] Paged() =>
    [
        // One token of each sequence against all its past: what a decoding step reads.
        Paged("paged attention", r => r.Shape.B, shared: false),
        // A beam over one problem's prefix, and a single sequence.
        Paged("paged attention of branches", r => r.Shape.B, shared: true),
        Paged("paged attention of one", _ => 1, shared: false),
        // A round of a beam search of 64 problems: 16 branches each, of which 4 go on and take over a page of keys and values in 4 layers.
        new("tree expansion", r =>
        {
            const int Layers = 4, MaxPages = 8;
            int branches = Problems * 16, forked = Problems * 4, page = PagedAttention.BlockTokens, floats = PagedAttention.PageFloats(HeadsOf(r));
            Tensor scores = r.Single(1, branches, 1), starts = r.Integers([.. Enumerable.Range(0, Problems + 1).Select(p => 16 * p)], Problems + 1, 1), kept = r.IntegerOutput("kept", Problems, 4);
            Tensor changes = r.Integers([.. Enumerable.Range(0, forked).SelectMany(i => (int[])[i * MaxPages + 1, forked + i, i])], forked, TreeExpansion.ChangeWords);
            Tensor table = r.Compare("table", r.Integers([.. Enumerable.Range(0, forked * MaxPages)], forked, MaxPages), 0);
            Tensor tokens = r.Integers([.. Enumerable.Range(0, forked).SelectMany(i => (int[])[~i, i, page + i % page])], forked, TreeExpansion.TokenWords), drawn = r.Integers([.. Enumerable.Range(0, forked)], forked, 1);
            var placed = new PlacedTokens(
                r.IntegerOutput("ids", forked, 1), r.IntegerOutput("positions", forked, 1), r.IntegerOutput("slots", forked, 1), r.IntegerOutput("rows", forked, 1), r.IntegerOutput("lengths", forked, 1));
            var pages = new PageTensors([.. Enumerable.Range(0, 2 * Layers).Select(i => r.Compare($"pages {i}", r.Half(i, 2 * forked, floats), 0))]);
            return () =>
            {
                TreeExpansion.Keep(scores, starts, kept);
                TreeExpansion.Fork(changes, forked, table, pages);
                TreeExpansion.Place(tokens, drawn, table, page, placed);
            };
        }, r =>
        [
            new("tree_keep", Single * Problems * 21), new("tree_fork", 3 * Single * 4 * Problems), new("tree_place", 10 * Single * 4 * Problems),
            new("tree_copy", 2 * Half * 8 * 4 * Problems * PagedAttention.BlockTokens * r.Shape.K * r.Shape.D),
        ]),
    ];

    private static OpCase Paged(string name, Func<CaseRun, int> rowsOf, bool shared) => new(name, r =>
    {
        AttentionShape heads = HeadsOf(r);
        int page = PagedAttention.BlockTokens, rows = rowsOf(r), pagesEach = (r.Shape.L + page - 1) / page, pages = rows * pagesEach, floats = PagedAttention.PageFloats(heads);
        Tensor keys = r.Compare("keys", r.Half(1, pages, floats), 1.0 / 64), values = r.Half(2, pages, floats), qkv = r.Half(3, rows, heads.Columns);
        // Each row has at least its last page to itself.
        Tensor y = r.HalfOutput("y", rows, heads.OutputColumns), table = r.Integers([.. Enumerable.Range(0, pages).Select(i => shared && i % pagesEach < pagesEach - 1 ? i % pagesEach : i)], rows, pagesEach);
        Tensor sequence = r.Integers([.. Enumerable.Range(0, rows)], rows, 1), length = r.Integers([.. Enumerable.Repeat(r.Shape.L, rows)], rows, 1);
        Tensor slots = r.Integers([.. Enumerable.Range(0, rows).Select(s => (s + 1) * pagesEach * page - page + (r.Shape.L - 1) % page)], rows, 1);
        return () =>
        {
            PagedAttention.Append(qkv, heads, slots, keys, values);
            PagedAttention.Forward(qkv, heads, sequence, length, table, keys, values, y);
        };
    }, r =>
    {
        int rows = rowsOf(r);
        double tokens = (double)r.Shape.L * (shared ? 1 : rows);
        return
        [
            new("paged_attention", 2 * Half * tokens * r.Shape.K * r.Shape.D), new("paged_append", 4 * Half * rows * r.Shape.K * r.Shape.D),
            new("paged_merge", Single * rows * r.Shape.H * r.Shape.D * (r.Shape.L / 256.0)),
        ];
    });

    private static AttentionShape HeadsOf(CaseRun r) => new(r.Shape.H, r.Shape.K, r.Shape.D);

    // Operations of one product of a causal attention: half of the pairs of tokens count.
    private static double Pairs(CaseRun r) => (double)r.Shape.B * r.Shape.L * r.Shape.L * r.Shape.H * r.Shape.D;
}
