using Bellman.Kernels.Ops.TreeExpansion;
using Xunit;
using static Bellman.Kernels.Tests.Cuda.TreeExpansionKernelTests;

namespace Bellman.Kernels.Tests.Ops;

public sealed class TreeExpansionTests
{
    [Fact]
    public void The_best_of_each_problem_are_kept_ties_by_index_and_what_is_no_number_last()
    {
        float nan = float.NaN, infinity = float.PositiveInfinity;
        Tensor scores = Floats(1, 3, 2, 3, /**/ nan, -5, infinity, -7, /**/ /**/ 4), starts = Integers(0, 4, 8, 8, 9);
        Tensor kept = Device.Cpu.Create(DType.I32, 4, 3);
        TreeExpansion.Keep(scores, starts, kept);
        Assert.Equal([1, 3, 2, /**/ 5, 7, 4, /**/ -1, -1, -1, /**/ 8, -1, -1], kept.ToArray<int>());
        Tensor one = Device.Cpu.Create(DType.I32, 4, 1);
        TreeExpansion.Keep(scores, starts, one);
        Assert.Equal([1, 5, -1, 8], one.ToArray<int>());
    }

    [Fact]
    public void Random_problems_agree_with_the_reference()
    {
        foreach ((int width, int most) in ((int, int)[])[(1, 9), (4, 30), (7, 5), (64, 200)])
        {
            int[] starts = Starts(width, 20, most);
            float[] scores = Coarse(most, starts[^1]);
            Tensor kept = Device.Cpu.Create(DType.I32, 20, width);
            TreeExpansion.Keep(Floats(scores), Integers(starts), kept);
            Assert.Equal(Expected(scores, starts, width), kept.ToArray<int>());
        }
    }

    [Fact]
    public void A_fork_writes_the_tables_and_copies_pages_in_every_layer()
    {
        float[] one = OpTest.Normal(1, 5 * 6), two = OpTest.Normal(2, 5 * 6);
        Tensor a = Device.Cpu.Create<float>(one, 5, 6), b = Device.Cpu.Create<float>(two, 5, 6), table = Integers(0, 1, 2, 3, 0, 0, 0, 0).Reshape(2, 4);
        int[] changes = [-1, 3, 0, /**/ 5, 4, 1, /**/ 4, 0, -1, /**/ 6, 2, -1], expected = table.ToArray<int>();
        using var pages = new PageTensors([a, b]);
        TreeExpansion.Fork(Device.Cpu.Create<int>(changes, 4, 3), 2, table, pages);
        TreeExpansionReference.Fork(changes, 2, expected, [one, two], 6);
        Assert.Equal([0, 1, 2, 3, 0, 4, 2, 0], table.ToArray<int>());
        Assert.Equal(expected, table.ToArray<int>());
        Assert.Equal(one, a.ToArray<float>());
        Assert.Equal(two, b.ToArray<float>());
        Assert.Equal(one[..6], one[18..24]);
    }

    [Fact]
    public void Tokens_get_their_places_and_drawn_ids_are_taken_where_they_lie()
    {
        int[] tokens = [7, 1, 0, /**/ ~1, 0, 5, /**/ ~0, 1, 4], table = [9, 8, 3, 6], drawn = [40, 41];
        PlacedTokens placed = Placed(3);
        TreeExpansion.Place(Device.Cpu.Create<int>(tokens, 3, 3), Integers(drawn), Device.Cpu.Create<int>(table, 2, 2), 4, placed);
        Assert.Equal([7, 41, 40], placed.Ids.ToArray<int>());
        Assert.Equal([0, 5, 4], placed.Positions.ToArray<int>());
        Assert.Equal([12, 33, 24], placed.Slots.ToArray<int>());
        Assert.Equal([1, 0, 1], placed.RowSequence.ToArray<int>());
        Assert.Equal([1, 6, 5], placed.RowLength.ToArray<int>());
        Assert.Equal([(7, 0, 12, 1, 1), (41, 5, 33, 0, 6), (40, 4, 24, 1, 5)], TreeExpansionReference.Place(tokens, drawn, table, 2, 4));
    }

    [Fact]
    public void What_does_not_fit_is_refused_before_anything_is_written()
    {
        Tensor scores = Floats(1, 2, 3), kept = Device.Cpu.Create(DType.I32, 1, 2), table = Integers(5, 5).Reshape(1, 2), a = Device.Cpu.Create(DType.F32, 2, 4);
        foreach (int[] starts in (int[][])[[0, 2], [1, 3], [0, 4]])
            Assert.Contains("ascending from 0 to 3", Assert.Throws<ShapeException>(() => TreeExpansion.Keep(scores, Integers(starts), kept)).Message);
        Assert.Contains("starts to be I32 2×1", Assert.Throws<ShapeException>(() => TreeExpansion.Keep(scores, Integers(0, 1, 3), kept)).Message);
        using var pages = new PageTensors([a]);
        foreach (int[] change in (int[][])[[2, 0, -1], [-2, 0, -1], [0, -1, -1]])
            Assert.Contains("change 0", Assert.Throws<ShapeException>(() => TreeExpansion.Fork(Device.Cpu.Create<int>(change, 1, 3), 0, table, pages)).Message);
        foreach (int[] change in (int[][])[[0, 2, 0], [0, 1, 2], [0, 1, -1]])
            Assert.Contains("2 pages", Assert.Throws<ShapeException>(() => TreeExpansion.Fork(Device.Cpu.Create<int>(change, 1, 3), 1, table, pages)).Message);
        Assert.Contains("no pages", Assert.Throws<ShapeException>(() => TreeExpansion.Fork(Device.Cpu.Create<int>([0, 1, 0], 1, 3), 1, table, null)).Message);
        Assert.Equal([5, 5], table.ToArray<int>());
        foreach (int[] token in (int[][])[[1, 1, 0], [1, 0, 8], [1, 0, -1], [~1, 0, 0]])
            Assert.Contains("token 0", Assert.Throws<ShapeException>(() => TreeExpansion.Place(Device.Cpu.Create<int>(token, 1, 3), Integers(3), table, 4, Placed(1))).Message);
        Assert.Throws<ShapeException>(() => new PageTensors([a, Device.Cpu.Create(DType.F32, 2, 5)]));
        Assert.Throws<ShapeException>(() => new PageTensors([]));
    }

    private static PlacedTokens Placed(int n)
    {
        Tensor New() => Device.Cpu.Create(DType.I32, n, 1);
        return new(New(), New(), New(), New(), New());
    }

    private static Tensor Floats(params float[] values) => Device.Cpu.Create<float>(values, values.Length, 1);

    private static Tensor Integers(params int[] values) => Device.Cpu.Create<int>(values, values.Length, 1);
}
