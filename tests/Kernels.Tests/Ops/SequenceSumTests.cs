using Bellman.Kernels.Ops.SequenceSum;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class SequenceSumTests
{
    // Two sequences of 3 and 4 tokens; the last entry of each is ignored.
    private static readonly float[] Mask = [1, 0, 1, 0, 1, 1, 1];

    private static Tensor Column(ReadOnlySpan<float> values) => Tensor(values, values.Length, 1);

    private static Tensor Starts() => Tensor([0, 3, 7], 3, 1);

    [Fact]
    public void Numbers_worked_by_hand()
    {
        Tensor x = Column([5f, float.NaN, float.NaN, float.NaN, 1f, 2f, float.NaN]), b = Column([1f, 9f, 9f, 9f, 0.5f, 0.5f, 9f]), y = Column([7f, 7f]);
        SequenceSum.Forward(x, b, Column(Mask), Starts(), mean: false, y);
        Assert.Equal([4f, 2f], y.ToArray<float>());
        SequenceSum.Forward(x, b, Column(Mask), Starts(), mean: true, y);
        Assert.Equal([4f, 1f], y.ToArray<float>());
        SequenceSum.Forward(x, default, Column(Mask), Starts(), mean: false, y);
        Assert.Equal([5f, 3f], y.ToArray<float>());

        Tensor d = Column([1, 1, 1, 1, 1, 1, 1]);
        SequenceSum.Backward(Column([3f, 4f]), Column(Mask), Starts(), mean: false, d);
        Assert.Equal([4f, 1, 1, 1, 5, 5, 1], d.ToArray<float>());
        SequenceSum.Backward(Column([3f, 4f]), Column(Mask), Starts(), mean: true, d);
        Assert.Equal([7f, 1, 1, 1, 7, 7, 1], d.ToArray<float>());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Agrees_with_the_reference_and_its_finite_differences(bool mean)
    {
        float[] x = Normal(1, 31), b = Normal(2, 31), mask = [.. Integers(3, 31, 3).Select(i => i > 0 ? 1f : 0f)];
        int[] starts = [0, 2, 14, 31];
        mask[0] = 1;
        Guarded y = new(3, 1, new float[3]), d = new(31, 1, new float[31]);
        SequenceSum.Forward(Column(x), Column(b), Column(mask), Tensor(starts, 4, 1), mean, y.Tensor);
        float[] slopes = [0.5f, -2f, 3f];
        SequenceSum.Backward(Column(slopes), Column(mask), Tensor(starts, 4, 1), mean, d.Tensor);
        for (int s = 0; s < 3; s++)
        {
            Range range = starts[s]..(starts[s + 1] - 1);
            double[] values = Doubles(x[range]), baseline = Doubles(b[range]);
            int[] actions = [.. mask[range].Select(m => (int)m)];
            TensorComparer.Close(SequenceSumReference.Forward(values, baseline, actions, mean), y.Values[s], 1e-6, 1e-6, $"sum {s}");
            double[] gradient = SequenceSumReference.Backward(slopes[s], actions, mean);
            TensorComparer.Close(Floats(gradient), d.Values[range], 1e-7, 1e-6, $"gradient {s}");
            IsGradient(values, gradient, () => slopes[s] * SequenceSumReference.Forward(values, baseline, actions, mean), $"reference {s}");
        }
        y.Verify("sums");
        d.Verify("gradient");
    }

    [Fact]
    public void Extremes_cancel_in_double_and_nan_stays_in_its_sequence()
    {
        Tensor y = Column([0f, 0f]);
        SequenceSum.Forward(Column([1e30f, 0, 0, 0, -1e8f, 1f, 0]), Column([1e30f, 0, 0, 0, -1e8f, 0.5f, 0]), Column(Mask), Starts(), mean: false, y);
        Assert.Equal([0f, 0.5f], y.ToArray<float>());
        SequenceSum.Forward(Column([float.NaN, 0, 0, 0, 1f, 1f, 0]), default, Column(Mask), Starts(), mean: false, y);
        Assert.True(float.IsNaN(y.AsSpan<float>()[0]));
        Assert.Equal(2f, y.AsSpan<float>()[1]);
    }

    [Fact]
    public void Refuses_what_does_not_fit()
    {
        Tensor x = Column(new float[7]), y = Column(new float[2]), m = Column(Mask);
        BellmanException error = Assert.Throws<BellmanException>(() => SequenceSum.Forward(x, default, Column([0, 0, 1, 1, 1, 1, 1]), Starts(), false, y));
        Assert.Equal("SequenceSum.Forward: sequence 0 (3 tokens) has no action; drop sequences without a response.", error.Message);
        Assert.Throws<BellmanException>(() => SequenceSum.Backward(y, m, Tensor([0, 3, 6], 3, 1), false, x));
        Assert.Throws<BellmanException>(() => SequenceSum.Backward(y, m, Tensor([0, 9, 7], 3, 1), false, x));
        Assert.Throws<ShapeException>(() => SequenceSum.Forward(x, default, m, Starts(), false, x));
        Assert.Throws<ShapeException>(() => SequenceSum.Backward(y, m, Starts(), false, default));
    }
}
