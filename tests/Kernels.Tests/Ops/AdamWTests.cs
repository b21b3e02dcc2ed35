using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Ops.AdamW;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class AdamWTests
{
    private static readonly AdamWSettings Settings = new(LearningRate: 0.1, Beta1: 0.9, Beta2: 0.99, Epsilon: 1e-8, WeightDecay: 0.5);

    [Fact]
    public void The_first_step_by_hand() => AtEveryWidth(() =>
    {
        // Bias correction makes the first step η·sign(g): 1·(1 − 0.1·0.5) − 0.1 = 0.85 with decay, 1 + 0.1 without.
        // m = 0.1·g, v = 0.01·g², with g = 0.5·4 and 0.5·(−4).
        Tensor p = Tensor([1f]), q = Tensor([1f]), m = Tensor([0f]), v = Tensor([0f]), m2 = Tensor([0f]), v2 = Tensor([0f]);
        Results.AdamWStep([new(p, Tensor([4f]), m, v, true), new(q, Tensor([-4f]), m2, v2, false)], Settings, 1, 0.5f);
        TensorComparer.Close([0.85f, 1.1f], [p.AsSpan<float>()[0], q.AsSpan<float>()[0]], 0, 3e-7, "parameters");
        TensorComparer.Close([0.2f, -0.2f], [m.AsSpan<float>()[0], m2.AsSpan<float>()[0]], 0, 3e-7, "first moments");
        TensorComparer.Close([0.04f, 0.04f], [v.AsSpan<float>()[0], v2.AsSpan<float>()[0]], 0, 3e-7, "second moments");
    });

    [Fact]
    public void Agrees_with_the_reference_over_many_tensors() => AtEveryWidth(() =>
    {
        int[] lengths = [1, 0, 3, 16, 17, 100, 16384, 16385, 40001];
        var guards = new List<Guarded[]>();
        var expected = new List<double[][]>();
        var tensors = new AdamWTensor[lengths.Length];
        for (int i = 0; i < lengths.Length; i++)
        {
            int n = lengths[i];
            float[][] data = [Normal(i, n), Normal(i + 100, n, 0.3), Normal(i + 200, n, 0.1), [.. Normal(i + 300, n, 0.1).Select(x => x * x)]];
            guards.Add([.. data.Select(x => new Guarded(n, 1, x))]);
            expected.Add([.. data.Select(x => Doubles(x))]);
            tensors[i] = new(guards[i][0].Tensor, guards[i][1].Tensor, guards[i][2].Tensor, guards[i][3].Tensor, i % 2 == 0);
        }
        for (int step = 3; step < 6; step++)
        {
            Results.AdamWStep(tensors, Settings, step, 0.7f);
            for (int i = 0; i < lengths.Length; i++)
                AdamWReference.Step(expected[i][0], expected[i][1], expected[i][2], expected[i][3], i % 2 == 0, Settings, step, 0.7f);
        }
        string[] names = ["parameter", "gradient", "first moment", "second moment"];
        for (int i = 0; i < lengths.Length; i++)
            for (int j = 0; j < 4; j++)
            {
                TensorComparer.Close(Floats(expected[i][j]), guards[i][j].Values, 1e-6, 3e-6, $"{names[j]} of {lengths[i]}");
                guards[i][j].Verify(names[j]);
            }
    });

    [Fact]
    public void Decay_and_steps_do_not_depend_on_neighbours() => AtEveryWidth(() =>
    {
        AdamWTensor Fresh(int seed, int n) => new(Tensor(Normal(seed, n)), Tensor(Normal(seed + 1, n)), Tensor(new float[n]), Tensor(new float[n]), true);
        AdamWTensor alone = Fresh(5, 333), together = Fresh(5, 333);
        Results.AdamWStep([alone], Settings, 1, 1f);
        Results.AdamWStep([Fresh(1, 77), Fresh(2, 20000), together, Fresh(3, 5)], Settings, 1, 1f);
        Assert.Equal(alone.Parameter.ToArray<float>(), together.Parameter.ToArray<float>());
    });

    [Fact]
    public void Extremes_and_nan() => AtEveryWidth(() =>
    {
        // A vanishing gradient moves nothing (ε), a zero one leaves zero state, NaN shows; a huge one whose square overflows
        // stops its parameter rather than blowing it up, as torch does.
        Tensor p = Tensor([1f, 1f, 1f, 1f]), m = Tensor(new float[4]), v = Tensor(new float[4]);
        Results.AdamWStep([new(p, Tensor([1e-30f, 0f, float.NaN, 1e30f]), m, v, false)], Settings, 1, 1f);
        float[] values = p.ToArray<float>();
        Assert.Equal([1f, 1f], values[..2]);
        Assert.True(float.IsNaN(values[2]));
        Assert.Equal(1f, values[3]);
        Assert.Equal(0f, m.AsSpan<float>()[1]);
    });

    [Theory]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    public void A_norm_that_is_not_finite_changes_nothing(double norm)
    {
        foreach (Device device in (Device[])[Device.Cpu, new SimulatorDevice()])
        {
            Tensor New(float x) => device.Create<float>([x, x, x], 1, 3);
            Tensor p = New(1), m = New(2), v = New(3);
            using var list = new AdamWTensors([new(p, New(4), m, v, true)]);
            AdamW.Step(list, Results.Numbers(device, Settings with { ClipNorm = 1 }, 1), device.Create<double>([norm], 1, 1));
            Assert.Equal([1, 1, 1, 2, 2, 2, 3, 3, 3], (float[])[.. p.ToArray<float>(), .. m.ToArray<float>(), .. v.ToArray<float>()]);
        }
    }

    [Fact]
    public void Refuses_what_does_not_fit()
    {
        Tensor three = Tensor([1f, 2f, 3f]), two = Tensor([1f, 2f]);
        Assert.Throws<ShapeException>(() => Results.AdamWStep([new(three, two, three, three, true)], Settings, 1, 1f));
        Assert.Throws<ArgumentOutOfRangeException>(() => Results.AdamWStep([new(three, three, three, three, true)], Settings, 0, 1f));
        Assert.Throws<BellmanException>(() => Results.AdamWStep([new(three, three, three, three, true)], Settings with { Beta2 = 1 }, 1, 1f));
    }
}
