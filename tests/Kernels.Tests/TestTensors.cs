namespace Bellman.Kernels.Tests;

/// <summary>Shorthands over <see cref="OpTest"/> for tests that build their tensors inside a loop over vector widths.</summary>
internal static class TestTensors
{
    /// <summary>Normal numbers.</summary>
    public static float[] Normal(int seed, int count) => OpTest.Normal(seed, count);

    /// <summary>A tensor between sentinels, and the check that they are whole.</summary>
    public static Tensor Guarded(int rows, int columns, out Action verify)
    {
        var guarded = new Guarded(rows, columns);
        verify = () => guarded.Verify($"{rows}×{columns}");
        return guarded.Tensor;
    }

    /// <summary>128, 256 and 512 bits, in use while each is current.</summary>
    public static IEnumerable<int> Widths()
    {
        int before = Cpu.VectorWidth.Bits;
        try
        {
            foreach (int bits in (int[])[128, 256, 512])
            {
                Cpu.VectorWidth.Bits = bits;
                yield return bits;
            }
        }
        finally
        {
            Cpu.VectorWidth.Bits = before;
        }
    }
}
