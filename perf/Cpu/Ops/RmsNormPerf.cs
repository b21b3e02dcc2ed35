using Bellman.Kernels;
using Bellman.Kernels.Ops.RmsNorm;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="RmsNorm"/>.</summary>
public class RmsNormPerf : OpPerf
{
    private const float Epsilon = 1e-6f;

    private Tensor _x, _weight, _y, _rstd, _dy, _dx, _dWeight, _sum;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark)
    {
        double rows = (double)Shape.T * Shape.C;
        // dx is added to: read and written.
        return new(0, Floats(benchmark switch
        {
            nameof(Forward) => 2 * rows + Shape.C + Shape.T,
            nameof(AddForward) => 4 * rows + Shape.C + Shape.T,
            _ => 4 * rows + 3 * Shape.C + Shape.T,
        }));
    }

    /// <summary>y and rstd.</summary>
    [Benchmark]
    public void Forward() => RmsNorm.Forward(_x, _weight, Epsilon, _y, _rstd);

    /// <summary>A residual sum, its y and rstd.</summary>
    [Benchmark]
    public void AddForward() => RmsNorm.AddForward(_x, _dy, 1, _sum, _weight, Epsilon, _y, _rstd);

    /// <summary>dx and dw, added up.</summary>
    [Benchmark]
    public void Backward() => RmsNorm.Backward(_dy, _x, _weight, _rstd, _dx, _dWeight);

    /// <inheritdoc/>
    protected override void Make()
    {
        (_x, _dy, _weight) = (Normal(Shape.T, Shape.C), Normal(Shape.T, Shape.C), Normal(1, Shape.C, 0.1, 1));
        _sum = Zero(Shape.T, Shape.C);
        (_y, _rstd, _dx, _dWeight) = (Zero(Shape.T, Shape.C), Zero(Shape.T, 1), Zero(Shape.T, Shape.C), Zero(1, Shape.C));
    }

    /// <inheritdoc/>
    protected override void Check()
    {
        double[] x = Doubles(_x), weight = Doubles(_weight), y = new double[x.Length], rstd = new double[Shape.T], dx = new double[x.Length], dWeight = new double[Shape.C];
        RmsNormReference.Forward(x, weight, Epsilon, y, rstd);
        RmsNormReference.Backward(Doubles(_dy), x, weight, rstd, dx, dWeight);
        Forward();
        Backward();
        Agree(y, _y, 1e-6, "y");
        Agree(dx, _dx, 1e-6, "dx");
        Agree(dWeight, _dWeight, 1e-6, "dWeight");
        double[] sum = new double[x.Length];
        RmsNormReference.AddForward(x, Doubles(_dy), 1, sum, weight, Epsilon, y, rstd);
        AddForward();
        Agree(sum, _sum, 1e-6, "sum");
        Agree(y, _y, 1e-6, "y of the sum");
    }
}
