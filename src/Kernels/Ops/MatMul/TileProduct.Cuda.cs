using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// The product of two tiles with mma.sync by a block of eight warps: 128×128 results, operands in shared memory, three buffers of 64 of the summed
/// index filled by asynchronous copies ahead of their use. Warp w has the results from <see cref="WarpRow"/> and <see cref="WarpColumn"/> on, 64×32.
/// </summary>
internal sealed class TileProduct
{
    public const int TileM = 128, TileN = 128, TileK = 64, Threads = 256, WarpsAcross = 4;
    public const int FragmentsM = TileM / WarpsDown / 16, FragmentsN = TileN / WarpsAcross / 8;
    private const int Stages = 3, WarpsDown = 2;
    private readonly KernelBuilder _kernel;

    /// <summary>Takes the shared memory; says for each operand whether it lies with the summed index along its rows or down its columns.</summary>
    public TileProduct(KernelBuilder k, bool alongA, bool alongB)
    {
        _kernel = k;
        A = new OperandTile(k, alongA, TileM);
        B = new OperandTile(k, alongB, TileN);
        WarpRow = k.Warp / WarpsAcross * (TileM / WarpsDown);
        WarpColumn = k.Warp % WarpsAcross * (TileN / WarpsAcross);
    }

    /// <summary>The left operand's place in shared memory.</summary>
    public OperandTile A { get; }

    /// <summary>The right operand's.</summary>
    public OperandTile B { get; }

    /// <summary>First row of a warp's results within the tile.</summary>
    public S32 WarpRow { get; }

    /// <summary>First column of a warp's results within the tile.</summary>
    public S32 WarpColumn { get; }

    /// <summary>Results of zero: element [m · <see cref="FragmentsN"/> + n] has 16 rows from 16m on and 8 columns from 8n on.</summary>
    public Accumulator[] NewSums() => [.. Enumerable.Range(0, FragmentsM * FragmentsN).Select(_ => new Accumulator(_kernel))];

    /// <summary>Steps of the summed index.</summary>
    public static S32 Steps(S32 depth) => (depth + (TileK - 1)) >>> 6;

    /// <summary>Starts the first copies of a product. No warp may still read the buffers of another: a barrier comes before all but the first.</summary>
    public void Begin(in OperandPlace a, in OperandPlace b, S32 steps)
    {
        (OperandPlace left, OperandPlace right) = (a, b);
        for (int stage = 0; stage < Stages - 1; stage++)
        {
            int buffer = stage;
            _kernel.If(stage < steps, () =>
            {
                left.Start(buffer * TileK, buffer);
                right.Start(buffer * TileK, buffer);
            });
            _kernel.CopyCommit();
        }
    }

    /// <summary>sums += A·B, begun before.</summary>
    public void Multiply(in OperandPlace a, in OperandPlace b, S32 steps, Accumulator[] sums)
    {
        KernelBuilder k = _kernel;
        (OperandPlace left, OperandPlace right) = (a, b);
        Variable<S32> reading = k.Variable<S32>(0), writing = k.Variable<S32>(Stages - 1);
        k.For(steps, step =>
        {
            // All have left the buffer that is filled next, and everyone's part of the one that is read next has come.
            k.CopyWait(Stages - 2);
            k.Barrier();
            k.If(step + (Stages - 1) < steps, () =>
            {
                S32 depthAt = (step + (Stages - 1)) << 6;
                left.Start(depthAt, writing);
                right.Start(depthAt, writing);
            });
            k.CopyCommit();
            MultiplyStep(reading, sums);
            foreach (Variable<S32> buffer in (Variable<S32>[])[reading, writing])
            {
                S32 next = buffer.Value + 1;
                buffer.Value = (next < Stages).Choose(next, 0);
            }
        });
        k.CopyWait(0);
    }

    private void MultiplyStep(S32 buffer, Accumulator[] sums)
    {
        S32 bufferA = buffer * A.Tile.Bytes, bufferB = buffer * B.Tile.Bytes;
        for (int depth = 0; depth < TileK; depth += 16)
        {
            // mma wants A's matrices with the rows of C running first, B's with the summed index running first.
            var left = new Packed[FragmentsM][];
            for (int m = 0; m < FragmentsM; m++) left[m] = A.Load(bufferA, WarpRow + 16 * m, depth, across: true);
            for (int pair = 0; pair < FragmentsN / 2; pair++)
            {
                Packed[] right = B.Load(bufferB, WarpColumn + 16 * pair, depth, across: false);
                for (int m = 0; m < FragmentsM; m++)
                    for (int half = 0; half < 2; half++)
                        _kernel.MultiplyAccumulate(sums[m * FragmentsN + 2 * pair + half], left[m], right[2 * half], right[2 * half + 1]);
            }
        }
    }

    /// <summary>One operand in shared memory: who copies which chunk, and how fragments are read.</summary>
    public sealed class OperandTile
    {
        private readonly KernelBuilder _kernel;
        private readonly bool _along;

        /// <summary>Along: the tile has <paramref name="width"/> rows of <see cref="TileK"/> numbers; else <see cref="TileK"/> rows of <paramref name="width"/>.</summary>
        public OperandTile(KernelBuilder k, bool along, int width)
        {
            (_kernel, _along) = (k, along);
            Tile = new SharedTile(k, along ? width : TileK, along ? TileK : width, Stages);
        }

        public SharedTile Tile { get; }

        /// <summary>The tile of a matrix from a place across on. What lies beyond <paramref name="bound"/> across or beyond the depth reads as zero.</summary>
        public OperandPlace Of(Floats source, S32 first, S32 bound, S32 depth, S32 stride)
        {
            S32 strideBytes = stride * sizeof(ushort);
            var chunks = new (S32, S32, S64, Pred)[Tile.Rows * Tile.Chunks / Threads];
            for (int i = 0; i < chunks.Length; i++)
            {
                S32 number = _kernel.Thread + i * Threads, row = number / Tile.Chunks, chunk = number % Tile.Chunks, column = chunk * SharedTile.ChunkElements;
                S32 across = first + (_along ? row : column);
                // The fixed part of the address; the moving part runs along or down the operand.
                S64 address = _along ? source.Advance(across, strideBytes).Address : source.Offset(across).Address;
                chunks[i] = (Tile.Address(row, chunk), _along ? column : row, address, across < bound);
            }
            return new(_kernel, this, source, depth, strideBytes, _along, chunks);
        }

        /// <summary>The fragment of 16 places across and 16 of depth.</summary>
        public Packed[] Load(S32 buffer, S32 place, int depth, bool across) => _along
            ? Tile.Load(buffer, place, depth / SharedTile.ChunkElements, rowsFirst: across, transposed: false)
            : Tile.Load(buffer, _kernel.Integer(depth), place >>> 3, rowsFirst: !across, transposed: true);
    }

    /// <summary>Where a tile of an operand comes from: the chunks that a thread copies.</summary>
    public readonly record struct OperandPlace(
        KernelBuilder Kernel, OperandTile Operand, Floats Source, S32 Depth, S32 StrideBytes, bool Along, (S32 Target, S32 DepthAt, S64 Address, Pred Inside)[] Chunks)
    {
        /// <summary>Starts the copies of the 64 of the summed index from a place on into a buffer.</summary>
        public void Start(S32 depthAt, S32 buffer)
        {
            S32 shift = buffer.Value.Kernel is null ? (int)buffer.Value.Bits * Operand.Tile.Bytes : buffer * Operand.Tile.Bytes;
            foreach ((S32 target, S32 own, S64 fixedPart, Pred inside) in Chunks)
            {
                S32 at = depthAt + own;
                Pred real = inside & (at < Depth);
                S64 address = Along ? Source.At(fixedPart).Offset(at).Address : Source.At(fixedPart).Advance(at, StrideBytes).Address;
                // Nothing is read for zero bytes, but the address must be a real one.
                Kernel.CopyAsync(target + shift, real.Choose(address, Source.Address), real.Choose(Kernel.Integer(16), 0));
            }
        }
    }
}
