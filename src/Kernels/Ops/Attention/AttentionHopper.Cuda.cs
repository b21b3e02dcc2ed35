using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.Attention;

/// <summary>
/// The forward of <see cref="AttentionCuda"/> on Hopper, for head dimensions 64 and 128. A block has 128 queries of one head. One thread brings them, and the
/// keys and values 128 at a time, by tensor maps, stages ahead; two warp groups with 64 queries each multiply by wgmma: scores from shared memory, then values
/// with the weights, rounded to bfloat16, in registers as the left operand. The values of one tile are still being added up while the scores of the next are
/// multiplied. The last tile may reach into the next sequence: its scores are hidden, and its values, which may be NaN, are overwritten with zeros.
/// </summary>
internal static class AttentionHopperCuda
{
    private const int Tile = 128, TileBits = 7, Threads = 384, MultiplyingThreads = 256;
    private static readonly KernelTable<AttentionShape> Forwards = new(StageForward);

    /// <summary>Whether there are the units, and the shape and address that they want.</summary>
    public static bool CanAttend(KernelDevice device, Tensor qkv, AttentionShape shape) =>
        device.HasWarpGroups && qkv.Type == DType.BF16 && shape.HeadDimension is 64 or 128 && qkv.Address % 16 == 0;

    public static void Forward(KernelDevice device, Tensor qkv, AttentionShape shape, Tensor starts, Tensor y, Tensor logSumExp)
    {
        KernelArgument map = KernelArgument.Map(qkv, qkv.Rows, qkv.Columns);
        device.Launch(Forwards[shape], new(AttentionCuda.Blocks(qkv, starts, Tile), shape.Heads), [map, map, starts, y, logSumExp, AttentionCuda.Sequences(starts)]);
    }

    private static Kernel StageForward(AttentionShape shape)
    {
        var k = new KernelBuilder($"attention_forward_hopper_{AttentionCuda.Name(shape)}", Threads);
        // Values lie with their summed index, the keys, down the columns: their boxes are squares.
        TensorMap rows = k.ArgumentMap("rows", Tile), squares = k.ArgumentMap("squares", GroupTile.Depth);
        Pointer<S32> starts = k.ArgumentIntegers("starts");
        Floats y = k.ArgumentFloats("y", DType.BF16), logSumExp = k.ArgumentFloats("logSumExp", DType.F32);
        // Late tiles have the most keys: they begin first.
        (S32 start, S32 length, S32 first) = AttentionCuda.Locate(k, starts, k.ArgumentS32("sequences"), k.GridX - 1 - k.BlockX, TileBits);
        int d = shape.HeadDimension, stages = d == 64 ? 4 : 2;
        var t = new Tiles(k, rows, squares, d, stages);
        S32 thread = k.Thread, head = k.BlockY, group = head / shape.Group, count = (first >>> TileBits) + 1;
        k.If(thread.Is(0), t.Init);
        k.Barrier();
        k.If(first < length, () => k.CopyAndMultiply(() => t.Bring(start, start + first, head * d, (group + shape.Heads) * d, (group + (shape.Heads + shape.KeyValueHeads)) * d, count), half =>
        {
            S32 warpRow = (half << 6) + ((k.Warp & 3) << 4);
            GroupAccumulator scores = new(k, Tile), output = new(k, d);
            for (int octet = 0; octet < d / 8; octet++)
                for (int register = 0; register < 4; register++) output[octet, register] = 0f;
            var soft = new SoftRows(k, shape.Scale);
            var ring = new StageRing(k, stages);
            Variable<S32> before = k.Variable<S32>(0);
            t.Queries.Wait(0, 0);
            k.For(count, tile =>
            {
                S32 now = ring.Stage;
                t.Full.Wait(now, ring.Parity);
                t.Score(scores, now, half);
                // The products of the tile before have been added up: its stage is free.
                k.GroupWait(1);
                k.If((tile > 0) & k.Lane.Is(0), () => t.Empty.Arrive(before));
                k.GroupWait(0);
                k.If((tile + 1).Is(count), () =>
                {
                    AttentionCuda.HideFuture(k, scores.Octets, warpRow, float.NegativeInfinity);
                    k.If(length < first + Tile, () => t.Clear(now, length - first, thread - (Threads - MultiplyingThreads)));
                });
                soft.Soften(scores.Octets, output.Octets);
                t.AddWeighted(output, scores, now);
                before.Value = now;
                ring.Next();
            });
            k.GroupWait(0);
            soft.Write(
                output.Octets, y.Row(start, shape.OutputColumns).Offset(head * d), shape.OutputColumns, d, logSumExp.Row(start, shape.Heads).Offset(head), shape.Heads, first + warpRow, length);
        }));
        return k.Build();
    }

    /// <summary>Queries, keys and values of a head in shared memory, 64 channels a piece, and the mbarriers of their stages.</summary>
    private sealed class Tiles
    {
        private readonly KernelBuilder _k;
        private readonly GroupTile _queries, _keys, _values;
        private readonly int _pieces, _stages;

        public Tiles(KernelBuilder k, TensorMap rows, TensorMap squares, int dimension, int stages)
        {
            (_k, _pieces, _stages) = (k, dimension / GroupTile.Depth, stages);
            _queries = new GroupTile(k, rows, along: true, Tile, _pieces);
            _keys = new GroupTile(k, rows, along: true, Tile, _pieces * stages);
            _values = new GroupTile(k, squares, along: false, dimension, Halves * stages);
            (Queries, Full, Empty, Cleared) = (k.Mbarriers(1), k.Mbarriers(stages), k.Mbarriers(stages), k.Mbarriers(1));
        }

        private const int Halves = Tile / GroupTile.Depth;

        public Mbarriers Queries { get; }

        public Mbarriers Full { get; }

        public Mbarriers Empty { get; }

        private Mbarriers Cleared { get; }

        /// <summary>Sets the mbarriers up, by one thread.</summary>
        public void Init()
        {
            Queries.Init(1);
            Full.Init(1);
            Empty.Init(MultiplyingThreads / 32);
            Cleared.Init(MultiplyingThreads);
            _k.MbarrierFence();
        }

        /// <summary>The copying thread's work: the queries from a row on, then keys and values from the sequence's first row on.</summary>
        public void Bring(S32 start, S32 queryRow, S32 queryColumn, S32 keyColumn, S32 valueColumn, S32 count)
        {
            Queries.ArriveExpecting(0, _pieces * _queries.Bytes);
            for (int piece = 0; piece < _pieces; piece++) _queries.Copy(_queries.Buffer(_k.Integer(piece)), queryRow, queryColumn + piece * GroupTile.Depth, Queries.Address(0));
            var ring = new StageRing(_k, _stages);
            _k.For(count, tile =>
            {
                S32 now = ring.Stage, row = start + (tile << TileBits);
                Empty.Wait(now, 1 - ring.Parity);
                Full.ArriveExpecting(now, _pieces * _keys.Bytes + Halves * _values.Bytes);
                for (int piece = 0; piece < _pieces; piece++) _keys.Copy(Keys(now, piece), row, keyColumn + piece * GroupTile.Depth, Full.Address(now));
                for (int half = 0; half < Halves; half++) _values.Copy(Values(now, half), valueColumn, row + half * GroupTile.Depth, Full.Address(now));
                ring.Next();
            });
        }

        /// <summary>scores = queries · keysᵀ of a warp group's 64 queries, started as a group of its own.</summary>
        public void Score(GroupAccumulator scores, S32 stage, S32 half)
        {
            Pred never = _k.Lane < 0, always = _k.Lane >= 0;
            _k.GroupFence();
            for (int piece = 0; piece < _pieces; piece++)
            {
                S32 left = half.MultiplyAdd(64 * TensorBox.RowBytes, _queries.Buffer(_k.Integer(piece))), right = Keys(stage, piece);
                for (int depth = 0; depth < GroupTile.Depth; depth += 16)
                    _k.GroupMultiply(scores, _queries.Descriptor(left, depth), _keys.Descriptor(right, depth), piece + depth == 0 ? never : always, alongA: true, alongB: true);
            }
            _k.GroupCommit();
        }

        /// <summary>output += weights · values, started as a group of its own.</summary>
        public void AddWeighted(GroupAccumulator output, GroupAccumulator weights, S32 stage)
        {
            Pred always = _k.Lane >= 0;
            // Two results of 8 columns side by side lie in a lane's registers just as a left operand does.
            Packed[][] left =
            [
                .. Enumerable.Range(0, Tile / 16).Select(i => new[] { 2 * i, 2 * i + 1 }.SelectMany(octet => new[] { Packed.Of(weights[octet, 0], weights[octet, 1]), Packed.Of(weights[octet, 2], weights[octet, 3]) }).ToArray()),
            ];
            _k.GroupFence();
            for (int half = 0; half < Halves; half++)
                for (int depth = 0; depth < GroupTile.Depth; depth += 16)
                    _k.GroupMultiply(output, left[(half * GroupTile.Depth + depth) / 16], _values.Descriptor(Values(stage, half), depth), always, alongB: false);
            _k.GroupCommit();
        }

        /// <summary>Overwrites the values from a row on with zeros, by all threads that multiply together.</summary>
        public void Clear(S32 stage, S32 from, S32 thread)
        {
            const int Chunks = TensorBox.RowBytes / SharedTile.ChunkBytes;
            S32 zero = _k.Variable<S32>(0), chunk = thread & (Chunks - 1);
            int pass = MultiplyingThreads / Chunks;
            for (int first = 0; first < Tile; first += pass)
            {
                S32 row = (thread >>> 3) + first;
                S32 place = Values(stage, first / GroupTile.Depth) + ((row & (GroupTile.Depth - 1)) << 7) + (chunk << 4);
                _k.If(row >= from, () =>
                {
                    for (int piece = 0; piece < _pieces; piece++)
                        _k.StoreTo<S32>(Forms.StoreShared, place.Value, piece * GroupTile.Depth * TensorBox.RowBytes / sizeof(int), sizeof(int), [zero, zero, zero, zero]);
                });
            }
            _k.ProxyFence();
            _k.WarpBarrier();
            Cleared.Arrive(0);
            Cleared.Wait(0, 0);
        }

        private S32 Keys(S32 stage, int piece) => _keys.Buffer(stage * _pieces + piece);

        private S32 Values(S32 stage, int half) => _values.Buffer(stage * Halves + half);
    }
}
