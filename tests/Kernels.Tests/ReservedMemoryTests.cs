using Xunit;

namespace Bellman.Kernels.Tests;

/// <summary>Memory that comes as it is touched.</summary>
public sealed class ReservedMemoryTests
{
    [Fact]
    public void ReservedRowsAreZeroAndKeepWhatIsWritten()
    {
        // 64 GiB of addresses, of which two rows are touched.
        Tensor rows = Device.Cpu.TryReserve(DType.F32, 1 << 24, 1024);
        Assert.SkipWhen(rows.IsEmpty, "this system reserves no memory");
        try
        {
            foreach (int row in (int[])[0, rows.Rows - 1])
            {
                Assert.Equal(new float[1024], rows.Slice(row, 1).ToArray<float>());
                rows.Slice(row, 1).AsSpan<float>().Fill(row + 1);
            }
            Assert.Equal(1f, rows.Slice(0, 1).ToArray<float>()[^1]);
            Assert.Equal(rows.Rows, rows.Slice(rows.Rows - 1, 1).ToArray<float>()[^1]);
        }
        finally
        {
            rows.Free();
        }
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(1023, 5)]
    [InlineData(1 << 20, 3)]
    public void OddSizesAreReservedAndGivenBack(int rows, int columns)
    {
        for (int repeat = 0; repeat < 100; repeat++)
        {
            Tensor tensor = Device.Cpu.TryReserve(DType.F32, rows, columns);
            Assert.SkipWhen(tensor.IsEmpty, "this system reserves no memory");
            // What was given back dirty must not come again.
            Assert.Equal(0f, tensor.Slice(0, 1).AsSpan<float>()[0]);
            Assert.Equal(0f, tensor.Slice(rows - 1, 1).AsSpan<float>()[columns - 1]);
            tensor.Slice(0, 1).AsSpan<float>()[0] = 1;
            tensor.Slice(rows - 1, 1).AsSpan<float>()[columns - 1] = 1;
            tensor.Free();
        }
    }
}
