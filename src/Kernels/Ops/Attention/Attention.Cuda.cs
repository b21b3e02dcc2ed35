using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Attention;

/// <summary>
/// <see cref="Attention"/> on a card, with mma.sync: a block of four warps has 64 queries of one head, each warp 16 of them, and
/// walks the keys from the sequence's start, 64 at a time and one tile ahead. Weights go from one product to the next in
/// registers. A query's result depends on nothing but its own past. On Hopper <see cref="AttentionHopperCuda"/> does the forward. Float32 tensors and head dimensions that are no multiple
/// of 8 or above 128 take the plain kernels of <see cref="AttentionPlainCuda"/>. Sequence starts are trusted.
/// </summary>
internal static class AttentionCuda
{
    public const int Tile = 64, Threads = 128;
    public const float Log2E = 1.44269504f, Ln2 = 0.693147181f;
    private const int MostColumns = 128;
    private static readonly KernelTable<AttentionShape> Forwards = new(StageForward);

    public static void Forward(KernelDevice device, Tensor qkv, AttentionShape shape, Tensor starts, Tensor y, Tensor logSumExp)
    {
        if (qkv.Rows == 0) return;
        if (AttentionHopperCuda.CanAttend(device, qkv, shape)) AttentionHopperCuda.Forward(device, qkv, shape, starts, y, logSumExp);
        else if (IsTiled(qkv, shape)) device.Launch(Forwards[shape], new(Blocks(qkv, starts), shape.Heads), [qkv, starts, y, logSumExp, Sequences(starts)]);
        else AttentionPlainCuda.Forward(device, qkv, shape, starts, y, logSumExp);
    }

    /// <summary>Number of sequences.</summary>
    public static int Sequences(Tensor starts) => (int)starts.Length - 1;

    /// <summary>Whether the tensor cores can be used.</summary>
    public static bool IsTiled(Tensor qkv, AttentionShape shape) =>
        qkv.Type == DType.BF16 && shape.HeadDimension % SharedTile.ChunkElements == 0 && shape.HeadDimension <= MostColumns;

    /// <summary>Blocks that are enough for any sequences; see <see cref="Locate"/>.</summary>
    public static int Blocks(Tensor qkv, Tensor starts, int tile = Tile) => qkv.Rows / tile + Sequences(starts);

    /// <summary>The part of a kernel's name that states the shape.</summary>
    public static string Name(AttentionShape shape) => $"h{shape.Heads}_k{shape.KeyValueHeads}_d{shape.HeadDimension}";

    /// <summary>
    /// First token and length of the sequence that a tile of queries (64, or another power of two) belongs to, and the tile's first token within it, which may lie
    /// beyond the length: sequence s has the tiles from starts[s] / 64 + s on, which leaves room for each one's ragged end
    /// without anyone having to count.
    /// </summary>
    public static (S32 Start, S32 Length, S32 First) Locate(KernelBuilder k, Pointer<S32> starts, S32 sequences, S32 block, int bits = 6)
    {
        S32 sequence = LastAtMost(k, sequences, s => (starts[s] >> bits) + s, block), start = starts[sequence];
        return (start, starts[sequence + 1] - start, (block - (start >> bits) - sequence) << bits);
    }

    /// <summary>The sequence of a token: the last that starts at or before it.</summary>
    public static S32 SequenceOf(KernelBuilder k, Pointer<S32> starts, S32 sequences, S32 token) => LastAtMost(k, sequences, s => starts[s], token);

    /// <summary>e to the power x·factor, for x of at most 0 or so.</summary>
    public static F32 Exp(F32 x, float factor) => (x * (factor * Log2E)).Exp2();

    private static S32 LastAtMost(KernelBuilder k, S32 count, Func<S32, S32> at, S32 bound)
    {
        Variable<S32> low = k.Variable<S32>(0), high = k.Variable(count - 1);
        k.While(() => low.Value < high.Value, () =>
        {
            S32 middle = (low.Value + high.Value + 1) >> 1;
            Pred reached = at(middle) <= bound;
            low.Value = reached.Choose(middle, low);
            high.Value = reached.Choose(high, middle - 1);
        });
        return low.Value;
    }

    private static Kernel StageForward(AttentionShape shape)
    {
        var k = new KernelBuilder($"attention_forward_{Name(shape)}", Threads);
        Floats qkv = k.ArgumentFloats("qkv", DType.BF16);
        Pointer<S32> starts = k.ArgumentIntegers("starts");
        Floats y = k.ArgumentFloats("y", DType.BF16), logSumExp = k.ArgumentFloats("logSumExp", DType.F32);
        // Late tiles have the most keys: they begin first.
        (S32 start, S32 length, S32 first) = Locate(k, starts, k.ArgumentS32("sequences"), k.GridX - 1 - k.BlockX);
        int d = shape.HeadDimension;
        HeadTile queries = new(k, d, Tile), keys = new(k, d, Tile, 2), values = new(k, d, Tile, 2);
        S32 head = k.BlockY, group = head / shape.Group, warpRow = k.Warp << 4;
        k.If(first < length, () =>
        {
            Floats sequence = qkv.Row(start, shape.Columns), key = sequence.Offset((group + shape.Heads) * d), value = key.Offset(shape.KeyValueHeads * d);
            void Start(S32 tile, S32 buffer)
            {
                keys.Start(key, shape.Columns, tile << 6, length, buffer);
                values.Start(value, shape.Columns, tile << 6, length, buffer);
                k.CopyCommit();
            }

            queries.Start(sequence.Offset(head * d), shape.Columns, first, length, 0);
            k.CopyCommit();
            Start(k.Integer(0), 0);
            k.CopyWait(1);
            k.Barrier();
            Packed[][] left = [.. Enumerable.Range(0, HeadTile.Depth(d) / 16).Select(i => queries.Left(0, warpRow, 16 * i))];
            var rows = new SoftRows(k, shape.Scale);
            Accumulator[] output = [.. Enumerable.Range(0, HeadTile.Depth(d) / 8).Select(_ => new Accumulator(k))];
            S32 tiles = (first >> 6) + 1;
            k.For(tiles, tile =>
            {
                S32 buffer = tile & 1;
                // All have left the other buffer, and everyone's part of this one has come.
                k.CopyWait(0);
                k.Barrier();
                k.If(tile + 1 < tiles, () => Start(tile + 1, 1 - buffer));
                Accumulator[] scores = keys.TimesTransposed(depth => left[depth / 16], buffer);
                k.If((tile + 1).Is(tiles), () => HideFuture(k, scores, warpRow, float.NegativeInfinity));
                rows.Soften(scores, output);
                values.AddWeighted(output, scores, buffer);
            });
            rows.Write(output, y.Row(start, shape.OutputColumns).Offset(head * d), shape.OutputColumns, d, logSumExp.Row(start, shape.Heads).Offset(head), shape.Heads, first + warpRow, length);
        });
        return k.Build();
    }

    /// <summary>Sets what lies right of the diagonal of a tile that has as many queries (rows) as keys, both from the same token on.</summary>
    public static void HideFuture(KernelBuilder k, Accumulator[] scores, S32 firstRow, float with)
    {
        S32[] columns = [Accumulator.Column(k.Lane, 0), Accumulator.Column(k.Lane, 1)], rows = [firstRow + Accumulator.Row(k.Lane, 0), firstRow + Accumulator.Row(k.Lane, 2)];
        for (int n = 0; n < scores.Length; n++)
            for (int r = 0; r < 4; r++) scores[n][r] = (columns[r % 2] + 8 * n <= rows[r / 2]).Choose(scores[n][r], with);
    }
}
