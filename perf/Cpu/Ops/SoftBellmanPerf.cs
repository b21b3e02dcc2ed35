using Bellman.Kernels;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="SoftBellman"/>.</summary>
public class SoftBellmanPerf : OpPerf
{
    private static readonly SoftBellmanOptions Options = new() { Beta = 0.03 };

    private SoftBellmanBatch _batch;
    private Tensor _gradient, _result;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, Floats(6.0 * Shape.T));

    /// <summary>The value loss and its gradient.</summary>
    [Benchmark]
    public void ValueLoss() => SoftBellman.ValueLoss(_batch, Options, _result, _gradient);

    /// <summary>The policy loss on tokens and its gradient.</summary>
    [Benchmark]
    public void PolicyLoss() => SoftBellman.PolicyLoss(_batch, Options, _result, _gradient);

    /// <inheritdoc/>
    protected override void Make()
    {
        Tensor mask = ActionMask();
        _batch = new SoftBellmanBatch(Normal(Shape.T, 1), Normal(Shape.T, 1), Normal(Shape.T, 1), mask, mask, Normal(Shape.B, 1), SequenceStarts());
        _gradient = Zero(Shape.T, 1);
        _result = Device.Cpu.Create(DType.F64, 1, SoftBellmanResult.Numbers);
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        // What a sequence contributes, and its two inputs that gradients are for.
        double[] logProbs = [], constant = [], values = [];
        double Value(int s) => SoftBellmanReference.ValueLoss(logProbs, Sequence(_batch.ReferenceLogProbs, s), values, Marks(_batch.ActionMask, s), Marks(_batch.StateMask, s), _batch.Rewards.AsSpan<float>()[s], Options) / Shape.B;
        double Policy(int s) => SoftBellmanReference.PolicyLoss(logProbs, constant, Sequence(_batch.ReferenceLogProbs, s), values, Marks(_batch.ActionMask, s), Marks(_batch.StateMask, s), _batch.Rewards.AsSpan<float>()[s], Options) / Shape.B;
        void Take(int s)
        {
            (logProbs, values) = (Sequence(_batch.LogProbs, s), Sequence(_batch.Values, s));
            constant = [.. logProbs];
        }
        double valueLoss = 0, policyLoss = 0;
        for (int s = 0; s < Shape.B; s++)
        {
            Take(s);
            (valueLoss, policyLoss) = (valueLoss + Value(s), policyLoss + Policy(s));
        }
        Take(0);
        ValueLoss();
        TensorComparer.Close(valueLoss, SoftBellmanResult.Read(_result).Loss, 1e-9, 1e-6, "value loss");
        foreach (int t in (ReadOnlySpan<int>)[1, Shape.L - 2])
            TensorComparer.Close(Slope(values, t, () => Value(0)), _gradient.AsSpan<float>()[t], 1e-9, 1e-4, $"gradient of the value loss, token {t}");
        PolicyLoss();
        TensorComparer.Close(policyLoss, SoftBellmanResult.Read(_result).Loss, 1e-9, 1e-6, "policy loss");
        foreach (int t in (ReadOnlySpan<int>)[1, Shape.L - 2])
            TensorComparer.Close(Slope(logProbs, t, () => Policy(0)), _gradient.AsSpan<float>()[t], 1e-9, 1e-4, $"gradient of the policy loss, token {t}");
    }
}
