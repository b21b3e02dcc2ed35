using Bellman.Kernels.Cpu;
using Xunit;

namespace Bellman.Kernels.Tests;

public sealed class VectorPowerTests
{
    [Fact]
    public void Powers_of_two_agree_with_doubles_and_underflow_to_zero()
    {
        Agree<Vector128Lanes>();
        Agree<Vector256Lanes>();
        Agree<Vector512Lanes>();
    }

    private static unsafe void Agree<V>() where V : unmanaged, IVector<V>
    {
        float* x = stackalloc float[16], y = stackalloc float[16];
        for (float first = -125f; first < 127f; first += 0.37f)
        {
            for (int i = 0; i < V.Count; i++) x[i] = first + i * 0.021f;
            V.Store(V.Exp2(V.Load(x)), y);
            for (int i = 0; i < V.Count; i++) Assert.InRange(y[i] / Math.Pow(2, x[i]), 1 - 1.5e-7, 1 + 1.5e-7);
        }
        float[] special = [0f, 1f, -126f, -1e30f, float.NegativeInfinity, float.NaN];
        float[] powers = [1f, 2f, 0f, 0f, 0f, float.NaN];
        for (int i = 0; i < special.Length; i++)
        {
            V.Store(V.Exp2(V.Broadcast(special[i])), y);
            Assert.Equal(powers[i], y[0]);
        }
    }
}
