using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Ops;

public sealed class LmHeadTests
{
    [Theory]
    [InlineData(1, 4, 2, KlDirection.None, 1f)]
    [InlineData(850, 2, 5000, KlDirection.None, 0.5f)]
    [InlineData(5, 8, 33, KlDirection.Reverse, 1f)]
    [InlineData(9, 16, 100, KlDirection.Forward, 1f)]
    [InlineData(70, 8, 5000, KlDirection.Reverse, 0.25f)]
    public void Agrees_with_the_reference_at_every_width(int rows, int channels, int vocabulary, KlDirection direction, float scale)
    {
        float[] hidden = TestTensors.Normal(1, rows * channels), weight = TestTensors.Normal(2, vocabulary * channels);
        float[] refHidden = TestTensors.Normal(3, rows * channels), refWeight = TestTensors.Normal(4, vocabulary * channels);
        float[] dLogProb = TestTensors.Normal(5, rows), dKl = TestTensors.Normal(6, rows);
        int[] targets = [.. Enumerable.Range(0, rows).Select(i => i * 7 % vocabulary)];
        bool withKl = direction != KlDirection.None;
        var logProb = new float[rows];
        var refLogProb = new float[rows];
        var entropy = new float[rows];
        var kl = new float[rows];
        var dHidden = new float[rows * channels];
        var dWeight = new double[vocabulary * channels];
        for (int i = 0; i < rows; i++)
        {
            double[] p = LmHeadReference.LogSoftmax(hidden.AsSpan(i * channels, channels), weight, vocabulary, scale, out _);
            double[] q = LmHeadReference.LogSoftmax(refHidden.AsSpan(i * channels, channels), refWeight, vocabulary, scale, out _);
            logProb[i] = (float)p[targets[i]];
            refLogProb[i] = (float)q[targets[i]];
            entropy[i] = (float)-p.Sum(x => Math.Exp(x) * x);
            if (withKl) kl[i] = (float)LmHeadReference.Kl(p, q, direction);
            double[] g = LmHeadReference.LogitGradient(p, q, direction, targets[i], dLogProb[i], withKl ? dKl[i] : 0);
            for (int c = 0; c < channels; c++)
            {
                double sum = 0;
                for (int v = 0; v < vocabulary; v++)
                {
                    sum += scale * g[v] * weight[v * channels + c];
                    dWeight[v * channels + c] += scale * g[v] * hidden[i * channels + c];
                }
                dHidden[i * channels + c] = (float)sum;
            }
        }
        foreach (int width in TestTensors.Widths())
        {
            using var packed = new PackedWeight(Device.Cpu.Create<float>(weight, vocabulary, channels));
            using var packedReference = new PackedWeight(Device.Cpu.Create<float>(refWeight, vocabulary, channels));
            using var scratch = new Arena(Device.Cpu, LmHead.ScratchBytes(Device.Cpu, rows, vocabulary, channels, withKl || true));
            var policy = new LmHeadInput(Device.Cpu.Create<float>(hidden, rows, channels), packed, scale);
            var reference = new LmHeadInput(Device.Cpu.Create<float>(refHidden, rows, channels), packedReference, scale);
            LmHeadOutput output = NewOutput(rows);
            Tensor ids = Device.Cpu.Create<int>(targets, rows, 1);
            LmHead.Forward(policy, reference, direction, ids, output, scratch);
            TensorComparer.Close(logProb, output.LogProb.AsSpan<float>(), 1e-5, 1e-6, $"log-probs at {width} bits");
            TensorComparer.Close(refLogProb, output.ReferenceLogProb.AsSpan<float>(), 1e-5, 1e-6, $"reference log-probs at {width} bits");
            TensorComparer.Close(entropy, output.Entropy.AsSpan<float>(), 1e-5, 2e-6, $"entropy at {width} bits");
            if (withKl) TensorComparer.Close(kl, output.Kl.AsSpan<float>(), 1e-5, 2e-6, $"KL at {width} bits");
            Tensor dh = Device.Cpu.Create(DType.F32, rows, channels), dw = Device.Cpu.Create(DType.F32, vocabulary, channels);
            LmHead.Backward(policy, reference, direction, ids, output, Device.Cpu.Create<float>(dLogProb, rows, 1), withKl ? Device.Cpu.Create<float>(dKl, rows, 1) : default, dh, dw, scratch);
            TensorComparer.CloseToScale(dHidden, dh.AsSpan<float>(), 1e-5, $"dHidden at {width} bits");
            TensorComparer.CloseToScale([.. dWeight.Select(x => (float)x)], dw.AsSpan<float>(), 1e-5, $"dWeight at {width} bits");
            SameBitsFromKeptLogits(policy, reference, direction, ids, output, Device.Cpu.Create<float>(dLogProb, rows, 1), withKl ? Device.Cpu.Create<float>(dKl, rows, 1) : default, dh, dw, scratch);
            if (withKl) continue;
            LmHeadOutput once = NewOutput(rows);
            Tensor dhOnce = Device.Cpu.Create(DType.F32, rows, channels), dwOnce = Device.Cpu.Create(DType.F32, vocabulary, channels);
            LmHead.ForwardBackward(policy, ids, once, Device.Cpu.Create<float>(dLogProb, rows, 1), dhOnce, dwOnce, scratch);
            Assert.Equal(output.LogProb.ToArray<float>(), once.LogProb.ToArray<float>());
            Assert.Equal(dh.ToArray<float>(), dhOnce.ToArray<float>());
            Assert.Equal(dw.ToArray<float>(), dwOnce.ToArray<float>());
        }
    }

    /// <summary>Gradients from logits that the forward left, where they fit, and written over what was there before.</summary>
    private static void SameBitsFromKeptLogits(LmHeadInput policy, LmHeadInput reference, KlDirection direction, Tensor ids, LmHeadOutput expected, Tensor dLogProb, Tensor dKl,
        Tensor dHidden, Tensor dWeight, Arena scratch)
    {
        int rows = ids.Rows, vocabulary = dWeight.Rows;
        scratch.Reset();
        LmHeadLogits kept = LmHead.TakeLogits(scratch, rows, vocabulary, withReference: true);
        Assert.Equal(rows > LmHead.ChunkRows(vocabulary), kept.Policy.IsEmpty);
        LmHeadOutput output = NewOutput(rows);
        LmHead.Forward(policy, reference, direction, ids, output, scratch, kept);
        Tensor dh = Device.Cpu.Create(DType.F32, rows, dHidden.Columns), dw = Device.Cpu.Create(DType.F32, vocabulary, dWeight.Columns);
        dw.AsSpan<float>().Fill(float.NaN);
        LmHead.Backward(policy, reference, direction, ids, output, dLogProb, dKl, dh, dw, scratch, add: false, kept);
        scratch.Reset();
        Assert.Equal(expected.LogProb.ToArray<float>(), output.LogProb.ToArray<float>());
        Assert.Equal(expected.Kl.ToArray<float>(), output.Kl.ToArray<float>());
        Assert.Equal(dHidden.ToArray<float>(), dh.ToArray<float>());
        Assert.Equal(dWeight.ToArray<float>(), dw.ToArray<float>());
    }

    [Theory]
    [InlineData(KlDirection.None)]
    [InlineData(KlDirection.Reverse)]
    [InlineData(KlDirection.Forward)]
    public void The_references_gradient_agrees_with_finite_differences(KlDirection direction)
    {
        const int V = 6;
        double[] logits = [0.3, -1.2, 2.1, 0.7, -0.4, 1.5], other = [1.1, 0.2, -0.6, 0.9, 1.4, -2.0];
        double[] LogSoftmax(double[] x)
        {
            double lse = Math.Log(x.Sum(Math.Exp));
            return [.. x.Select(v => v - lse)];
        }
        double[] q = LogSoftmax(other);
        double Loss()
        {
            double[] p = LogSoftmax(logits);
            return 0.7 * p[2] + (direction == KlDirection.None ? 0 : -1.3 * LmHeadReference.Kl(p, q, direction));
        }
        double[] gradient = LmHeadReference.LogitGradient(LogSoftmax(logits), q, direction, 2, 0.7, direction == KlDirection.None ? 0 : -1.3);
        for (int v = 0; v < V; v++)
        {
            double before = logits[v];
            logits[v] = before + 1e-5;
            double up = Loss();
            logits[v] = before - 1e-5;
            double down = Loss();
            logits[v] = before;
            TensorComparer.Close((up - down) / 2e-5, gradient[v], 1e-8, 1e-7, $"d/dlogit[{v}]");
        }
    }

    [Fact]
    public void Extreme_logits_stay_finite_and_NaN_stays_visible()
    {
        using var packed = new PackedWeight(Device.Cpu.Create<float>([1e30f, -1e30f, 0f], 3, 1));
        using var scratch = new Arena(Device.Cpu, LmHead.ScratchBytes(Device.Cpu, 2, 3, 1, false));
        LmHeadOutput output = NewOutput(2);
        LmHead.Forward(new LmHeadInput(Device.Cpu.Create<float>([1f, float.NaN], 2, 1), packed, 1f), default, KlDirection.None, Device.Cpu.Create<int>([0, 0], 2, 1), output, scratch);
        Assert.Equal(0f, output.LogProb.AsSpan<float>()[0]);
        Assert.True(float.IsNaN(output.LogProb.AsSpan<float>()[1]));
    }

    [Fact]
    public void A_target_outside_the_vocabulary_is_named()
    {
        using var packed = new PackedWeight(Device.Cpu.Create(DType.F32, 3, 1));
        using var scratch = new Arena(Device.Cpu, LmHead.ScratchBytes(Device.Cpu, 1, 3, 1, false));
        ShapeException error = Assert.Throws<ShapeException>(() => LmHead.Forward(new LmHeadInput(Device.Cpu.Create(DType.F32, 1, 1), packed, 1f), default, KlDirection.None, Device.Cpu.Create<int>([3], 1, 1), NewOutput(1), scratch));
        Assert.Contains("target id 3", error.Message);
    }

    private static LmHeadOutput NewOutput(int rows)
    {
        Tensor New() => Device.Cpu.Create(DType.F32, rows, 1);
        return new(New(), New(), New(), New(), New(), New());
    }
}
