using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.MatMul;

namespace Bellman.Perf.Gpu.Cases;

/// <summary>The products of linear layers and of the language-model head.</summary>
internal static class ProductCases
{
    private const double Half = 2, Single = 4;

    public static IEnumerable<OpCase> All() =>
    [
        .. Linear("qkv", s => (s.C, s.QkvColumns), bias: true), .. Linear("gate_up", s => (s.C, 2 * s.F), bias: false), .. Linear("down", s => (s.F, s.C), bias: false), .. Head(),
    ];

    private static OpCase[] Linear(string layer, Func<ModelShape, (int Inputs, int Outputs)> width, bool bias)
    {
        double Flops(CaseRun r) => 2.0 * r.T * width(r.Shape).Inputs * width(r.Shape).Outputs;
        return
        [
            new($"matmul {layer} forward", r =>
            {
                (int inputs, int outputs) = width(r.Shape);
                Tensor x = r.Half(1, r.T, inputs), b = bias ? r.Half(3, 1, outputs) : default, y = r.HalfOutput("y", r.T, outputs);
                var weight = new PackedWeight(r.Half(2, outputs, inputs, 0.02f));
                return () => MatMul.Forward(x, weight, b, y);
            }, r => [new("matmul", 0, Flops(r))]),
            new($"matmul {layer} input gradient", r =>
            {
                (int inputs, int outputs) = width(r.Shape);
                Tensor dy = r.Half(1, r.T, outputs), dx = r.HalfOutput("dx", r.T, inputs);
                var weight = new PackedWeight(r.Half(2, outputs, inputs, 0.02f));
                return () => MatMul.BackwardInput(dy, weight, dx, add: bias);
            }, r => [new("matmul", 0, Flops(r))]),
            new($"matmul {layer} weight gradient", r =>
            {
                (int inputs, int outputs) = width(r.Shape);
                Tensor dy = r.Half(1, r.T, outputs), x = r.Half(2, r.T, inputs), dw = r.SingleOutput("dw", outputs, inputs), db = bias ? r.SingleOutput("db", 1, outputs) : default;
                Arena scratch = r.Scratch(MatMul.BackwardWeightScratch(r.Device, r.T, inputs));
                return () => MatMul.BackwardWeight(dy, x, dw, db, scratch);
            }, r => [new("matmul", 0, Flops(r)), new("column_sum", Half * r.T * width(r.Shape).Outputs)]),
        ];
    }

    private static OpCase[] Head() =>
    [
        Head(full: false, KlDirection.None), Head(full: true, KlDirection.None), Head(full: true, KlDirection.Reverse), Head(full: true, KlDirection.Forward),
        new("lm_head logits", r =>
        {
            // The rows of a decoding step.
            Tensor hidden = r.Half(1, r.Shape.B, r.Shape.C), logits = r.SingleOutput("logits", r.Shape.B, r.Shape.V);
            var head = new LmHeadInput(hidden, new PackedWeight(r.Half(2, r.Shape.V, r.Shape.C, 0.02f)), 2);
            return () => LmHead.Logits(head, logits);
        }, r => [new("matmul", Half * r.Shape.V * r.Shape.C), new("lm_head_scale", 2 * Single * r.Shape.B * r.Shape.V)]),
    ];

    // Training's case: log-probs and, against a frozen reference, the full KL; then the gradients.
    private static OpCase Head(bool full, KlDirection direction)
    {
        bool kl = direction != KlDirection.None;
        return new($"lm_head {(full ? $"reference {direction}".ToLowerInvariant() : "log-probs")}", r =>
        {
            Tensor hidden = r.Half(1, r.T, r.Shape.C), targets = r.Integers([.. Enumerable.Range(0, r.T).Select(t => (int)(t * 7919L % r.Shape.V))], r.T, 1);
            var weight = new PackedWeight(r.Half(2, r.Shape.V, r.Shape.C, 0.02f));
            LmHeadInput policy = new(hidden, weight, 1), reference = full ? new(r.Half(3, r.T, r.Shape.C), weight, 1) : default;
            Tensor Column(string name) => r.SingleOutput(name, r.T, 1);
            LmHeadOutput output = full
                ? new(Column("log-prob"), Column("log-sum-exp"), Column("entropy"), Column("reference log-prob"), Column("reference log-sum-exp"), kl ? Column("kl") : default)
                : new(Column("log-prob"), Column("log-sum-exp"), default, default, default, default);
            Tensor dLogProb = r.Single(4, r.T, 1), dKl = kl ? r.Single(5, r.T, 1) : default, dHidden = r.HalfOutput("dHidden", r.T, r.Shape.C), dWeight = r.SingleOutput("dWeight", r.Shape.V, r.Shape.C, 1.0 / 64);
            Arena scratch = r.Scratch(LmHead.ScratchBytes(r.Device, r.T, r.Shape.V, r.Shape.C, full));
            return () =>
            {
                LmHead.Forward(policy, reference, direction, targets, output, scratch);
                LmHead.Backward(policy, reference, direction, targets, output, dLogProb, dKl, dHidden, dWeight, scratch);
            };
        }, r =>
        {
            double one = 2.0 * r.T * r.Shape.V * r.Shape.C;
            int forward = full ? 2 : 1, back = kl ? 2 : 1;
            return
            [
                new("lm_head_forward", 0, forward * one), new("lm_head_gradient", 0, back * one), new("matmul_hopper_kt", 0, one), new("matmul_hopper_tt", 0, one),
                new("matmul_kt", 0, one), new("matmul_tt", 0, one), new("lm_head_combine", Single * 64 * 6 * r.T), new("lm_head_round", (Single + Half) * r.T * r.Shape.C),
            ];
        });
    }
}
