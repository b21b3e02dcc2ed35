using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Ops.Attention;

namespace Bellman.Kernels.Ops.PagedAttention;

/// <summary>
/// <see cref="PagedAttention"/> on a card. A warp has one row, up to 8 query heads that share their keys, and 256 tokens: a lane
/// weighs a token (neighbouring lanes read neighbouring places of a page), then the warp walks the values. Four neighbouring rows are a
/// block: where their next 32 tokens lie in the same pages, the block reads those once, into shared memory. A second launch
/// brings the parts of 256 together in ascending order. The cuts are counted from the sequence's start, so a row's bits depend
/// neither on the batch nor on the size of pages. A row whose length, sequence or page lies outside the tables becomes NaN; a
/// token whose slot does is not kept.
/// </summary>
internal static partial class PagedAttentionCuda
{
    private const int Lanes = 32, PartBits = 8, Part = 1 << PartBits, MostHeads = 8, AppendThreads = 128, RowsTogether = 4;
    private static readonly KernelTable<Shape> Appends = new(StageAppend), Merges = new(StageMerge);
    private static readonly KernelTable<(Shape Shape, int Rows)> Parts = new(x => new PartKernel(x.Shape, x.Rows).Stage());

    /// <summary>Heads, P, and the type of activations and pages.</summary>
    private readonly record struct Shape(AttentionShape Heads, int PageTokens, DType Type)
    {
        public int PageFloats => PagedAttention.PageFloats(Heads, PageTokens);

        /// <summary>Query heads of one warp: the largest number up to 8 that divides those that share keys.</summary>
        public int Together
        {
            get
            {
                int together = Math.Min(MostHeads, Heads.Group);
                while (Heads.Group % together != 0) together--;
                return together;
            }
        }

        public override string ToString() => $"{AttentionCuda.Name(Heads)}_p{PageTokens}_{Type.ToString().ToLowerInvariant()}";
    }

    public static void Append(KernelDevice device, Tensor qkv, AttentionShape shape, int pageTokens, Tensor slots, Tensor keys, Tensor values)
    {
        if (qkv.Rows > 0) device.Launch(Appends[new(shape, pageTokens, qkv.Type)], new(qkv.Rows), [qkv, slots, keys, values, keys.Rows * pageTokens]);
    }

    public static void Forward(
        KernelDevice device, Tensor qkv, AttentionShape heads, int pageTokens, Tensor rowSequence, Tensor rowLength, Tensor pageTable, Tensor keys, Tensor values, Tensor y)
    {
        if (qkv.Rows == 0) return;
        var shape = new Shape(heads, pageTokens, qkv.Type);
        int most = pageTable.Columns * pageTokens, parts = Math.Max(1, (most + Part - 1) / Part);
        long pieces = (long)qkv.Rows * heads.Heads * parts;
        Tensor sums = device.Scratch("paged attention sums", pieces * heads.HeadDimension * sizeof(float)), scales = device.Scratch("paged attention scales", pieces * 2 * sizeof(float));
        int together = qkv.Rows == 1 ? 1 : RowsTogether;
        device.Launch(
            Parts[(shape, together)], new((qkv.Rows + together - 1) / together, heads.Heads / shape.Together, parts),
            [qkv, rowSequence, rowLength, pageTable, keys, values, sums, scales, qkv.Rows, pageTable.Rows, pageTable.Columns, keys.Rows, parts]);
        device.Launch(Merges[shape], new(qkv.Rows, heads.Heads), [rowSequence, rowLength, sums, scales, y, pageTable.Rows, pageTable.Columns, parts]);
    }

    /// <summary>Bytes of the parts' sums and scales.</summary>
    public static long Bytes(int rows, AttentionShape heads, int tokens) => (long)rows * heads.Heads * ((tokens + Part - 1) / Part) * (heads.HeadDimension + 2) * sizeof(float);

    private static Kernel StageAppend(Shape shape)
    {
        var k = new KernelBuilder($"paged_append_{shape}", AppendThreads);
        Floats qkv = k.ArgumentFloats("qkv", shape.Type);
        Pointer<S32> slots = k.ArgumentIntegers("slots");
        Floats keys = k.ArgumentFloats("keys", shape.Type), values = k.ArgumentFloats("values", shape.Type);
        int d = shape.Heads.HeadDimension, columns = shape.Heads.KeyValueHeads * d;
        S32 places = k.ArgumentS32("places"), slot = slots[k.BlockX];
        k.If((slot >= 0) & (slot < places), () =>
        {
            S32 page = slot / shape.PageTokens, place = slot - page * shape.PageTokens;
            Floats row = qkv.Row(k.BlockX, shape.Heads.Columns), keyPage = keys.Row(page, shape.PageFloats), valuePage = values.Row(page, shape.PageFloats);
            k.For(k.Thread, columns, AppendThreads, column =>
            {
                S32 head = column / d;
                keyPage[column.MultiplyAdd(shape.PageTokens, place)] = row.Offset(shape.Heads.KeyColumn(0))[column];
                valuePage[head.MultiplyAdd(shape.PageTokens, place).MultiplyAdd(d, column - head * d)] = row.Offset(shape.Heads.ValueColumn(0))[column];
            });
        });
        return k.Build();
    }

    /// <summary>A row's number of tokens, 0 where it cannot be.</summary>
    private static S32 LengthOf(Shape shape, Pointer<S32> rowSequence, Pointer<S32> rowLength, S32 row, S32 sequences, S32 maxPages)
    {
        S32 sequence = rowSequence[row], length = rowLength[row];
        return ((sequence >= 0) & (sequence < sequences) & (length > 0) & (length <= maxPages * shape.PageTokens)).Choose(length, 0);
    }

    private static Kernel StageMerge(Shape shape)
    {
        var k = new KernelBuilder($"paged_merge_{shape}", Lanes);
        Pointer<S32> rowSequence = k.ArgumentIntegers("rowSequence"), rowLength = k.ArgumentIntegers("rowLength");
        Floats sums = Table(k, "sums"), scales = Table(k, "scales"), y = k.ArgumentFloats("y", shape.Type);
        S32 sequences = k.ArgumentS32("sequences"), maxPages = k.ArgumentS32("maxPages"), parts = k.ArgumentS32("parts");
        int d = shape.Heads.HeadDimension;
        S32 row = k.BlockX, head = k.BlockY, length = LengthOf(shape, rowSequence, rowLength, row, sequences, maxPages);
        S32 first = row.MultiplyAdd(shape.Heads.Heads, head) * parts;
        var tile = new RowTile(k, d);
        Variable<F32>[] output = k.Variables<F32>(tile.Registers, 0f);
        Variable<F32> max = k.Variable<F32>(float.NegativeInfinity), sum = k.Variable<F32>(0f);
        k.For((length + (Part - 1)) >> PartBits, part =>
        {
            F32[] scale = scales.Row(first + part, 2).Load(0, 2), values = tile.Load(sums.Row(first + part, d));
            F32 before = max, now = before.Max(scale[0]);
            F32 correction = AttentionCuda.Exp(before - now, shape.Heads.Scale), share = AttentionCuda.Exp(scale[0] - now, shape.Heads.Scale);
            for (int i = 0; i < values.Length; i++) output[i].Value = share.Fma(values[i], output[i].Value * correction);
            (max.Value, sum.Value) = (now, share.Fma(scale[1], sum.Value * correction));
        });
        F32 factor = (length > 0).Choose(sum.Value.Reciprocal(), float.NaN);
        tile.Store(y.Row(row, shape.Heads.OutputColumns).Offset(head * d), [.. output.Select(x => x.Value * factor)]);
        return k.Build();
    }

    private static Floats Table(KernelBuilder k, string name) => new(k.ArgumentTable<F32>(name).Address, DType.F32);
}
