using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Ops.TreeExpansion;
using Xunit;
using static Bellman.Kernels.Tests.Cuda.CudaOpTest;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>Tree expansion in the checked simulator against its reference.</summary>
public sealed class TreeExpansionKernelTests
{
    private readonly CudaOpTest _test = new();

    [Theory]
    [InlineData(1, 9)]
    [InlineData(4, 30)]
    [InlineData(7, 5)]
    [InlineData(150, 300)]
    public void The_best_are_those_of_the_reference(int width, int most)
    {
        int[] starts = Starts(width, 6, most);
        float[] scores = Coarse(most, starts[^1]);
        Tensor kept = _test.Output(DType.I32, 6, width);
        TreeExpansion.Keep(_test.Single(scores, scores.Length, 1), _test.Integers(starts, starts.Length, 1), kept);
        Assert.Equal(Expected(scores, starts, width), kept.ToArray<int>());
    }

    [Theory]
    [InlineData(40, 1, DType.BF16)]
    [InlineData(264, 3, DType.BF16)]
    [InlineData(31, 2, DType.F32)]
    public void A_fork_writes_tables_and_copies_pages(int columns, int layers, DType type)
    {
        const int Pages = 6;
        KernelDevice device = type == DType.F32 ? new SimulatorDevice { Activations = DType.F32 } : _test.Device;
        float[][] expected = [.. Enumerable.Range(1, 2 * layers).Select(x => Normal(x, Pages * columns))];
        Tensor[] tensors = [.. expected.Select(x => Make(device, x, type, Pages, columns))];
        // The last change lies outside in every way: it is left out.
        int[] changes = [3, 4, 0, /**/ -1, 5, 1, /**/ 0, 2, -1, /**/ 7, 1, -1], table = [9, 9, 9, 9, 9, 9, 9, 9];
        Tensor pageTable = device.Create<int>(table, 2, 4);
        using var pages = new PageTensors(tensors);
        TreeExpansion.Fork(device.Create<int>([.. changes, 8, 1, -1], 5, 3), 2, pageTable, pages);
        TreeExpansionReference.Fork(changes, 2, table, expected, columns);
        Assert.Equal(table, pageTable.ToArray<int>());
        for (int i = 0; i < tensors.Length; i++) Assert.Equal(expected[i], Read(tensors[i]));
        TreeExpansion.Fork(device.Create<int>([-1, 6, 0, /**/ -1, 0, -1], 2, 3), 2, default, pages);
        for (int i = 0; i < tensors.Length; i++) Assert.Equal(expected[i], Read(tensors[i]));
    }

    [Fact]
    public void Places_are_those_of_the_reference_and_drawn_ids_stay_on_the_device()
    {
        const int Tokens = 150, Rows = 7, MaxPages = 5, P = 16;
        int[] drawn = OpTest.Integers(1, Tokens, 1000), table = OpTest.Integers(2, Rows * MaxPages, 400);
        int[] row = OpTest.Integers(3, Tokens, Rows), position = OpTest.Integers(4, Tokens, MaxPages * P);
        int[] tokens = [.. Enumerable.Range(0, Tokens).SelectMany(i => (int[])[i % 3 == 0 ? ~i : i, row[i], position[i]])];
        PlacedTokens placed = Place(tokens, drawn, table);
        (int Id, int Position, int Slot, int Row, int Length)[] expected = TreeExpansionReference.Place(tokens, drawn, table, MaxPages, P);
        Assert.Equal(expected.Select(x => x.Id), placed.Ids.ToArray<int>());
        Assert.Equal(expected.Select(x => x.Position), placed.Positions.ToArray<int>());
        Assert.Equal(expected.Select(x => x.Slot), placed.Slots.ToArray<int>());
        Assert.Equal(expected.Select(x => x.Row), placed.RowSequence.ToArray<int>());
        Assert.Equal(expected.Select(x => x.Length), placed.RowLength.ToArray<int>());

        // No such row, no such page, a page that nobody wrote, an id that was not drawn: such tokens are not kept.
        table[0] = -1;
        placed = Place([1, Rows, 0, /**/ 1, -1, 0, /**/ 1, 0, MaxPages * P, /**/ 1, 0, -1, /**/ 1, 0, 3, /**/ ~3, 1, 0], drawn[..2], table);
        Assert.All(placed.Slots.ToArray<int>()[..5], x => Assert.True(x < 0));
        Assert.Equal([1, 1, 1, 1, 1, -1], placed.Ids.ToArray<int>());
        Assert.Equal([1, 1], Place([1, 0, 0, /**/ 1, 0, 0], [], table).Ids.ToArray<int>());

        PlacedTokens Place(int[] words, int[] draws, int[] pages)
        {
            int n = words.Length / 3;
            Tensor New() => _test.Output(DType.I32, n, 1);
            var result = new PlacedTokens(New(), New(), New(), New(), New());
            TreeExpansion.Place(_test.Integers(words, n, 3), draws.Length == 0 ? default : _test.Integers(draws, draws.Length, 1), _test.Integers(pages, Rows, MaxPages), P, result);
            return result;
        }
    }

    /// <summary>Where problems begin: some have no branch, and the largest more than <paramref name="width"/>.</summary>
    internal static int[] Starts(int width, int problems, int most)
    {
        int[] counts = OpTest.Integers(width, problems, most + 1), starts = new int[problems + 1];
        counts[0] = 0;
        for (int p = 0; p < problems; p++) starts[p + 1] = starts[p] + counts[p];
        return starts;
    }

    /// <summary>Scores that often are equal, and some that are no numbers.</summary>
    internal static float[] Coarse(int seed, int count) =>
        [.. OpTest.Normal(seed, count).Select(x => x > 1.5 ? float.NaN : x < -1.8 ? float.NegativeInfinity : MathF.Round(4 * x) / 4)];

    /// <summary>What the reference keeps.</summary>
    internal static int[] Expected(float[] scores, int[] starts, int width)
    {
        var kept = new int[(starts.Length - 1) * width];
        for (int p = 0; p + 1 < starts.Length; p++) TreeExpansionReference.Keep(scores, starts[p], starts[p + 1], kept.AsSpan(p * width, width));
        return kept;
    }

    private static Tensor Make(KernelDevice device, float[] values, DType type, int rows, int columns) =>
        type == DType.BF16 ? device.Create<BFloat16>([.. values.Select(x => (BFloat16)x)], rows, columns) : device.Create<float>(values, rows, columns);
}
