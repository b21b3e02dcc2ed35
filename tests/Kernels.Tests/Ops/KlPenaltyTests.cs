using Bellman.Kernels.Ops.KlPenalty;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class KlPenaltyTests
{
    private static Tensor Column(ReadOnlySpan<float> values) => Tensor(values, values.Length, 1);

    // Two sequences of 3 and 4 tokens; the last entry of each is ignored.
    private static readonly float[] Mask = [1, 0, 1, 0, 1, 1, 1];

    private static Tensor Starts() => Tensor([0, 3, 7], 3, 1);

    [Fact]
    public void Mean_of_numbers_worked_by_hand()
    {
        // First sequence: 2. Second: (4 + 6)/2 = 5. Mean 3.5; gradients 0.1·1/2 and 0.1·1/4.
        Tensor d = Column(Normal(1, 7));
        double mean = Results.KlMean(Column([2f, float.NaN, float.NaN, 9f, 4f, 6f, float.NaN]), Column(Mask), Starts(), 0.1, 0, d);
        Assert.Equal(3.5, mean);
        Assert.Equal([0.05f, 0, 0, 0, 0.025f, 0.025f, 0], d.ToArray<float>());
        // As half of an update of four sequences.
        Assert.Equal(1.75, Results.KlMean(Column([2f, 0f, 0f, 0f, 4f, 6f, 0f]), Column(Mask), Starts(), 0.1, 4, default));
    }

    [Fact]
    public void Sampled_estimate_of_numbers_worked_by_hand()
    {
        // ρ = ln 2: 1/2 + ln 2 − 1, slope 1/2. ρ = 0: nothing. Gradients add to what is there.
        float ln2 = MathF.Log(2);
        Tensor d = Column([1, 1, 1, 1, 1, 1, 1]);
        double mean = Results.KlSampled(Column([ln2, 5, 5, 5, 3, 3, 5]), Column([0, 0, 0, 0, 3, 3, 0]), Column(Mask), Starts(), 0.2, 0, d);
        TensorComparer.Close((Math.Log(2) - 0.5) / 2, mean, 0, 1e-6, "mean");
        TensorComparer.Close([1.05f, 1, 1, 1, 1, 1, 1], d.ToArray<float>(), 0, 1e-6, "gradient");
    }

    [Fact]
    public void Agrees_with_the_reference_and_its_finite_differences()
    {
        float[] p = Normal(1, 7), q = Normal(2, 7);
        double[] first = Doubles(p.AsSpan(0, 2)), second = Doubles(p.AsSpan(3, 3));
        double Sampled() => (KlPenaltyReference.Sampled(first, Doubles(q.AsSpan(0, 2)), [1, 0]) + KlPenaltyReference.Sampled(second, Doubles(q.AsSpan(3, 3)), [0, 1, 1])) / 2;
        double Mean() => (KlPenaltyReference.Mean(first, [1, 0]) + KlPenaltyReference.Mean(second, [0, 1, 1])) / 2;
        Guarded d = new(7, 1, new float[7]);
        TensorComparer.Close(Sampled(), Results.KlSampled(Column(p), Column(q), Column(Mask), Starts(), 1, 0, d.Tensor), 0, 1e-12, "sampled");
        IsGradient(first, Doubles(d.Values.AsSpan(0, 2)), Sampled, "first", tolerance: 1e-6);
        IsGradient(second, Doubles(d.Values.AsSpan(3, 3)), Sampled, "second", tolerance: 1e-6);
        TensorComparer.Close(Mean(), Results.KlMean(Column(p), Column(Mask), Starts(), 1, 0, d.Tensor), 0, 1e-12, "mean");
        IsGradient(first, Doubles(d.Values.AsSpan(0, 2)), Mean, "first mean", tolerance: 1e-6);
        IsGradient(second, Doubles(d.Values.AsSpan(3, 3)), Mean, "second mean", tolerance: 1e-6);
        d.Verify("gradient");
    }

    [Fact]
    public void Extremes_and_nan_show()
    {
        Tensor q = Column(new float[7]), m = Column(Mask);
        Assert.Equal(double.PositiveInfinity, Results.KlSampled(Column([-1e30f, 0, 0, 0, 0, 0, 0]), q, m, Starts(), 1, 0, default));
        TensorComparer.Close(5e29, Results.KlSampled(Column([1e30f, 0, 0, 0, 0, 0, 0]), q, m, Starts(), 1, 0, default), 0, 1e-6, "large");
        Assert.True(double.IsNaN(Results.KlSampled(Column([float.NaN, 0, 0, 0, 0, 0, 0]), q, m, Starts(), 1, 0, default)));
        Assert.True(double.IsNaN(Results.KlMean(Column([float.NaN, 0, 0, 0, 0, 0, 0]), m, Starts(), 1, 0, default)));
    }

    [Fact]
    public void Refuses_sequences_without_actions()
    {
        Tensor kl = Column(new float[7]);
        BellmanException error = Assert.Throws<BellmanException>(() => Results.KlMean(kl, Column([1, 0, 0, 0, 0, 0, 1]), Starts(), 1, 0, default));
        Assert.Equal("KlPenalty.Mean: sequence 1 (4 tokens) has no action; drop sequences without a response.", error.Message);
        Assert.Throws<ShapeException>(() => Results.KlSampled(kl, Column(new float[6]), Column(Mask), Starts(), 1, 0, default));
    }
}
