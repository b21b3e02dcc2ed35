using Bellman.Kernels.Ops.Rows;
using Xunit;

namespace Bellman.Kernels.Tests.Ops;

public sealed class RowsTests
{
    [Fact]
    public void Gather_and_scatter_move_the_rows_named()
    {
        Tensor all = Device.Cpu.Create<float>([0, 1, 10, 11, 20, 21], 3, 2), index = Device.Cpu.Create<int>([2, 0], 2, 1), two = Device.Cpu.Create(DType.F32, 2, 2);
        Rows.Gather(all, index, two);
        Assert.Equal([20f, 21f, 0f, 1f], two.ToArray<float>());
        var expected = new float[4];
        RowsReference.Gather(all.AsSpan<float>(), index.AsSpan<int>(), 2, expected);
        Assert.Equal(expected, two.ToArray<float>());
        Tensor back = Device.Cpu.Create<float>([7, 7, 7, 7, 7, 7], 3, 2);
        Rows.Scatter(two, index, back);
        Assert.Equal([0f, 1f, 7f, 7f, 20f, 21f], back.ToArray<float>());
        var scattered = new float[] { 7, 7, 7, 7, 7, 7 };
        RowsReference.Scatter(two.AsSpan<float>(), index.AsSpan<int>(), 2, scattered);
        Assert.Equal(scattered, back.ToArray<float>());
    }

    [Fact]
    public void Copies_move_single_rows_and_blocks()
    {
        Tensor rows = Device.Cpu.Create<float>([1, 2, 3, 4], 2, 2);
        Rows.CopyFirst(rows.Slice(0, 1), rows.Slice(1, 1));
        Assert.Equal([1f, 2f, 1f, 2f], rows.ToArray<float>());
        Tensor larger = Device.Cpu.Create(DType.F32, 3, 2);
        Rows.CopyFirst(rows, larger);
        Assert.Equal([1f, 2f, 1f, 2f, 0f, 0f], larger.ToArray<float>());
    }

    [Fact]
    public void An_index_outside_is_named()
    {
        Tensor all = Device.Cpu.Create(DType.F32, 3, 2);
        ShapeException error = Assert.Throws<ShapeException>(() => Rows.Gather(all, Device.Cpu.Create<int>([3], 1, 1), Device.Cpu.Create(DType.F32, 1, 2)));
        Assert.Contains("index 3", error.Message);
    }
}
