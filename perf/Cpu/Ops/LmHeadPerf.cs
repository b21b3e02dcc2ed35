using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Tests;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="LmHead"/>.</summary>
public class LmHeadPerf : OpPerf
{
    // The reference takes seconds for a row of a large vocabulary.
    private const int Checked = 3;
    private const KlDirection Direction = KlDirection.Reverse;

    private readonly List<PackedWeight> _packed = [];
    private LmHeadInput _policy, _reference;
    private LmHeadOutput _output;
    private Tensor _targets, _dLogProb, _dKl, _dHidden, _dWeight;
    private Arena? _scratch;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark)
    {
        // A product forward, twice that backward; the backward also recomputes the logits, and with a KL those of the reference.
        double product = 2.0 * Shape.T * Shape.V * Shape.C;
        int products = benchmark switch { nameof(Forward) => 1, nameof(ForwardKl) => 2, nameof(Backward) => 3, _ => 4 };
        return new(products * product, Floats((double)Shape.V * Shape.C));
    }

    /// <summary>Log-probs.</summary>
    [Benchmark]
    public void Forward() => LmHead.Forward(_policy, default, KlDirection.None, _targets, _output with { ReferenceLogProb = default, ReferenceLogSumExp = default, Kl = default }, _scratch!);

    /// <summary>Log-probs of policy and reference, and the KL over the whole vocabulary.</summary>
    [Benchmark]
    public void ForwardKl() => LmHead.Forward(_policy, _reference, Direction, _targets, _output, _scratch!);

    /// <summary>Gradients for those of the log-probs.</summary>
    [Benchmark]
    public void Backward() => LmHead.Backward(_policy, default, KlDirection.None, _targets, _output, _dLogProb, default, _dHidden, _dWeight, _scratch!);

    /// <summary>Gradients for those of log-probs and KL.</summary>
    [Benchmark]
    public void BackwardKl() => LmHead.Backward(_policy, _reference, Direction, _targets, _output, _dLogProb, _dKl, _dHidden, _dWeight, _scratch!);

    /// <inheritdoc/>
    public override void Release()
    {
        foreach (PackedWeight packed in _packed) packed.Dispose();
        _packed.Clear();
        _scratch?.Dispose();
        base.Release();
    }

    /// <inheritdoc/>
    protected override void Make()
    {
        _policy = Side();
        _reference = Side();
        (_targets, _dLogProb, _dKl) = (Integers(Shape.T, Shape.V), Normal(Shape.T, 1), Normal(Shape.T, 1));
        _output = new LmHeadOutput(Zero(Shape.T, 1), Zero(Shape.T, 1), default, Zero(Shape.T, 1), Zero(Shape.T, 1), Zero(Shape.T, 1));
        (_dHidden, _dWeight) = (Zero(Shape.T, Shape.C), Zero(Shape.V, Shape.C));
        _scratch = new Arena(Device.Cpu, LmHead.ScratchBytes(Device.Cpu, Shape.T, Shape.V, Shape.C, withReference: true));
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        double[][] policy = new double[Checked][], reference = new double[Checked][];
        float[] logProb = new float[Checked], kl = new float[Checked];
        for (int i = 0; i < Checked; i++)
        {
            policy[i] = LmHeadReference.LogSoftmax(_policy.Hidden.Row<float>(i), _policy.Weight.Weight.AsSpan<float>(), Shape.V, 1, out _);
            reference[i] = LmHeadReference.LogSoftmax(_reference.Hidden.Row<float>(i), _reference.Weight.Weight.AsSpan<float>(), Shape.V, 1, out _);
            (logProb[i], kl[i]) = ((float)policy[i][_targets.AsSpan<int>()[i]], (float)LmHeadReference.Kl(policy[i], reference[i], Direction));
        }
        ForwardKl();
        TensorComparer.CloseToScale(logProb, _output.LogProb.Slice(0, Checked).AsSpan<float>(), 3e-6, "log-probs");
        TensorComparer.CloseToScale(kl, _output.Kl.Slice(0, Checked).AsSpan<float>(), 1e-5, "KL");
        Backward(KlDirection.None, policy, reference, default);
        Backward(Direction, policy, reference, _dKl);
    }

    /// <summary>Checks the gradients of the first rows alone.</summary>
    private void Backward(KlDirection direction, double[][] policy, double[][] reference, Tensor dKl)
    {
        LmHeadInput First(LmHeadInput side) => side with { Hidden = side.Hidden.Slice(0, Checked) };
        Tensor hidden = _policy.Hidden.Slice(0, Checked), weight = _policy.Weight.Weight, dHidden = _dHidden.Slice(0, Checked), targets = _targets.Slice(0, Checked);
        _dWeight.AsSpan<float>().Clear();
        LmHead.Backward(First(_policy), direction == KlDirection.None ? default : First(_reference), direction, targets, _output.Slice(0, Checked),
            _dLogProb.Slice(0, Checked), dKl.IsEmpty ? default : dKl.Slice(0, Checked), dHidden, _dWeight, _scratch!);
        // Gradients of the targets' rows are large, those of the others small: both are looked at.
        int[] looked = [.. targets.ToArray<int>().Concat(Enumerable.Range(0, 16)).Distinct()];
        double[] expected = new double[dHidden.Length], weights = new double[looked.Length * Shape.C];
        for (int i = 0; i < Checked; i++)
        {
            double[] gradient = LmHeadReference.LogitGradient(policy[i], direction == KlDirection.None ? null : reference[i], direction,
                targets.AsSpan<int>()[i], _dLogProb.AsSpan<float>()[i], dKl.IsEmpty ? 0 : dKl.AsSpan<float>()[i]);
            ReadOnlySpan<float> x = hidden.Row<float>(i);
            for (int v = 0; v < Shape.V; v++)
            {
                ReadOnlySpan<float> row = weight.Row<float>(v);
                for (int c = 0; c < Shape.C; c++) expected[i * Shape.C + c] += gradient[v] * row[c];
            }
            for (int j = 0; j < looked.Length; j++)
                for (int c = 0; c < Shape.C; c++) weights[j * Shape.C + c] += gradient[looked[j]] * x[c];
        }
        Agree(expected, dHidden, 3e-5, $"dHidden, {direction}");
        for (int j = 0; j < looked.Length; j++) Agree(weights[(j * Shape.C)..((j + 1) * Shape.C)], _dWeight.Slice(looked[j], 1), 1e-4, $"dWeight[{looked[j]}], {direction}");
    }

    private LmHeadInput Side()
    {
        var packed = new PackedWeight(Normal(Shape.V, Shape.C, 1 / Math.Sqrt(Shape.C)));
        _packed.Add(packed);
        return new LmHeadInput(Normal(Shape.T, Shape.C), packed, 1);
    }
}
