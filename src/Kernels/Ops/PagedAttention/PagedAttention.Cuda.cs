using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Ops.Attention;

namespace Bellman.Kernels.Ops.PagedAttention;

/// <summary>
/// <see cref="PagedAttention"/> on a card. A warp has one row, up to 8 query heads that share their keys, and 256 tokens: a lane
/// weighs a token (neighbouring lanes read neighbouring places of a page), then the warp walks the values. A second launch
/// brings the parts of 256 together in ascending order. The cuts are counted from the sequence's start, so a row's bits depend
/// neither on the batch nor on the size of pages. A row whose length, sequence or page lies outside the tables becomes NaN; a
/// token whose slot does is not kept.
/// </summary>
internal static class PagedAttentionCuda
{
    private const int Lanes = 32, PartBits = 8, Part = 1 << PartBits, MostHeads = 8, AppendThreads = 128;
    private static readonly KernelTable<Shape> Appends = new(StageAppend), Parts = new(StagePart), Merges = new(StageMerge);

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
        device.Launch(
            Parts[shape], new(qkv.Rows, heads.Heads / shape.Together, parts),
            [qkv, rowSequence, rowLength, pageTable, keys, values, sums, scales, pageTable.Rows, pageTable.Columns, keys.Rows, parts]);
        device.Launch(Merges[shape], new(qkv.Rows, heads.Heads), [rowSequence, rowLength, sums, scales, y, pageTable.Rows, pageTable.Columns, parts]);
    }

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

    private static Kernel StagePart(Shape shape)
    {
        var k = new KernelBuilder($"paged_attention_{shape}", Lanes);
        Floats qkv = k.ArgumentFloats("qkv", shape.Type);
        Pointer<S32> rowSequence = k.ArgumentIntegers("rowSequence"), rowLength = k.ArgumentIntegers("rowLength"), pageTable = k.ArgumentIntegers("pageTable");
        Floats keys = k.ArgumentFloats("keys", shape.Type), values = k.ArgumentFloats("values", shape.Type), sums = Table(k, "sums"), scales = Table(k, "scales");
        S32 sequences = k.ArgumentS32("sequences"), maxPages = k.ArgumentS32("maxPages"), pages = k.ArgumentS32("pages"), parts = k.ArgumentS32("parts");
        int d = shape.Heads.HeadDimension, p = shape.PageTokens, together = shape.Together, step = d % 4 == 0 ? 4 : 1;
        S32 row = k.BlockX, firstHead = k.BlockY * together, group = firstHead / shape.Heads.Group, part = k.BlockZ, lane = k.Lane;
        S32 length = LengthOf(shape, rowSequence, rowLength, row, sequences, maxPages), first = part << PartBits, end = length.Min(first + Part);
        Shared<F32> queries = k.Shared<F32>(together * d), weights = k.Shared<F32>(together * Lanes);
        Shared<S32> pageOf = k.Shared<S32>(Lanes);
        var tile = new RowTile(k, d);
        k.If(first < end, () =>
        {
            Pointer<S32> table = pageTable.Offset(rowSequence[row] * maxPages);
            Floats query = qkv.Row(row, shape.Heads.Columns).Offset(firstHead * d);
            k.For(lane, together * d, Lanes, i => queries[i] = query[i]);
            k.WarpBarrier();
            Variable<F32>[] max = k.Variables<F32>(together, float.NegativeInfinity), sum = k.Variables<F32>(together, 0f);
            Variable<F32>[][] output = [.. Enumerable.Range(0, together).Select(_ => k.Variables<F32>(tile.Registers, 0f))];
            k.For(first, end, Lanes, from =>
            {
                Pred visible = from + lane < end;
                S32 token = visible.Choose(from + lane, first), number = token / p, listed = table[number];
                Pred known = (listed >= 0) & (listed < pages);
                S32 page = known.Choose(listed, 0);
                F32 spoil = known.Choose(k.Number(0), float.NaN);
                Floats key = keys.Row(page, shape.PageFloats).Offset((group * (d * p)) + (token - number * p));
                Variable<F32>[] scores = k.Variables<F32>(together, spoil);
                k.For(0, d, step, c =>
                {
                    Floats at = key.Offset(c * p);
                    for (int i = 0; i < step; i++)
                    {
                        F32 channel = at[i * p];
                        for (int g = 0; g < together; g++) scores[g].Value = channel.Fma(queries[c + (g * d + i)], scores[g]);
                    }
                });
                for (int g = 0; g < together; g++)
                {
                    F32 score = visible.Choose(scores[g], float.NegativeInfinity), before = max[g], now = before.Max(k.WarpMax(score));
                    F32 correction = AttentionCuda.Exp(before - now, shape.Heads.Scale), weight = AttentionCuda.Exp(score - now, shape.Heads.Scale);
                    weights[lane + g * Lanes] = weight;
                    (max[g].Value, sum[g].Value) = (now, sum[g].Value.Fma(correction, weight));
                    foreach (Variable<F32> x in output[g]) x.Value *= correction;
                }
                pageOf[lane] = page;
                k.WarpBarrier();
                k.For(from, end.Min(from + Lanes), 1, other =>
                {
                    S32 at = other - from;
                    F32[] value = tile.Load(values.Row(pageOf[at], shape.PageFloats).Offset(group.MultiplyAdd(p, other % p) * d));
                    for (int g = 0; g < together; g++)
                    {
                        F32 weight = weights[at + g * Lanes];
                        for (int i = 0; i < value.Length; i++) output[g][i].Value = weight.Fma(value[i], output[g][i]);
                    }
                });
                k.WarpBarrier();
            });
            for (int g = 0; g < together; g++)
            {
                S32 piece = row.MultiplyAdd(shape.Heads.Heads, firstHead + g).MultiplyAdd(parts, part);
                F32 total = k.WarpSum(sum[g]), largest = max[g];
                tile.Store(sums.Row(piece, d), [.. output[g].Select(x => x.Value)]);
                k.If(lane.Is(0), () => scales.Row(piece, 2).Store(0, [largest, total]));
            }
        });
        return k.Build();
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
