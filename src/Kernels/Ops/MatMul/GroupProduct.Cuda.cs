using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// Products of tiles on Hopper by a block of three warp groups: one thread of the first brings tiles by tensor maps, stages ahead; the other two have
/// 64 rows each and multiply by wgmma straight from shared memory. A stage goes round by two mbarriers: <c>full</c>, which counts the bytes, and
/// <c>empty</c>, at which each multiplying warp arrives. Both sides go through the same products in the same order; the copies of the next begin while
/// the results of the last are used.
/// </summary>
internal sealed class GroupProduct
{
    public const int TileM = 128, Threads = 384;
    private const int MultiplyingWarps = 8;
    private readonly KernelBuilder _kernel;
    private readonly GroupTile _a, _b;
    private readonly bool _alongA, _alongB;
    private readonly int _stages;
    private readonly Mbarriers _full, _empty;

    /// <summary>Takes the shared memory, and says for each operand whether it lies with the summed index along its rows.</summary>
    public GroupProduct(KernelBuilder k, TensorMap a, bool alongA, TensorMap b, bool alongB, int tileN)
    {
        (_kernel, _alongA, _alongB, _stages) = (k, alongA, alongB, tileN == 256 ? 4 : 6);
        (_a, _b) = (new GroupTile(k, a, alongA, TileM, _stages), new GroupTile(k, b, alongB, tileN, _stages));
        (_full, _empty) = (k.Mbarriers(_stages), k.Mbarriers(_stages));
    }

    /// <summary>Steps of the summed index.</summary>
    public static S32 Steps(S32 depth) => (depth + (GroupTile.Depth - 1)) >>> 6;

    /// <summary>The kernel's body: what the copying thread does, and what the multiplying threads do.</summary>
    public void Run(Action<Copier> copy, Action<Multiplier> multiply)
    {
        KernelBuilder k = _kernel;
        k.If(k.Thread.Is(0), () =>
        {
            _full.Init(1);
            _empty.Init(MultiplyingWarps);
            k.MbarrierFence();
        });
        k.Barrier();
        k.CopyAndMultiply(() => copy(new(this)), half => multiply(new(this, half)));
    }

    /// <summary>The side that copies.</summary>
    public sealed class Copier(GroupProduct product)
    {
        private readonly StageRing _ring = new(product._kernel, product._stages);

        /// <summary>Brings the tiles of one product, from the operands' maps.</summary>
        public void Bring(TensorMap a, TensorMap b, S32 firstRow, S32 firstColumn, S32 steps)
        {
            (GroupTile tileA, GroupTile tileB) = (product._a.With(a), product._b.With(b));
            product._kernel.For(steps, step =>
            {
                S32 stage = _ring.Stage, at = step << 6;
                // The first time round a stage is empty: the phase before the first counts as over.
                product._empty.Wait(stage, 1 - _ring.Parity);
                product._full.ArriveExpecting(stage, tileA.Bytes + tileB.Bytes);
                tileA.Copy(tileA.Buffer(stage), firstRow, at, product._full.Address(stage));
                tileB.Copy(tileB.Buffer(stage), firstColumn, at, product._full.Address(stage));
                _ring.Next();
            });
        }
    }

    /// <summary>The side that multiplies.</summary>
    /// <param name="product">The product.</param>
    /// <param name="half">Which 64 rows of the tile this warp group has.</param>
    public sealed class Multiplier(GroupProduct product, S32 half)
    {
        private readonly StageRing _ring = new(product._kernel, product._stages);
        private readonly Variable<S32> _before = product._kernel.Variable<S32>(0);

        /// <summary>First row of this warp within the tile.</summary>
        public S32 FirstRow => (half << 6) + ((product._kernel.Warp & 3) << 4);

        /// <summary>sums = A·B of the tiles that come next.</summary>
        public void Multiply(GroupAccumulator sums, S32 steps)
        {
            KernelBuilder k = product._kernel;
            k.For(steps, step =>
            {
                S32 stage = _ring.Stage;
                product._full.Wait(stage, _ring.Parity);
                MultiplyStep(stage, sums, step > 0);
                // All products but these have left their stage.
                k.GroupWait(1);
                k.If((step > 0) & k.Lane.Is(0), () => product._empty.Arrive(_before));
                _before.Value = stage;
                _ring.Next();
            });
            k.GroupWait(0);
            k.If(k.Lane.Is(0), () => product._empty.Arrive(_before));
        }

        private void MultiplyStep(S32 stage, GroupAccumulator sums, Pred later)
        {
            KernelBuilder k = product._kernel;
            // 64 rows of a tile are 64 rows of 128 bytes, or one square: 8 KiB either way.
            S32 left = half.MultiplyAdd(64 * TensorBox.RowBytes, product._a.Buffer(stage)), right = product._b.Buffer(stage);
            Pred always = k.Lane >= 0;
            k.GroupFence();
            for (int depth = 0; depth < GroupTile.Depth; depth += 16)
                k.GroupMultiply(sums, product._a.Descriptor(left, depth), product._b.Descriptor(right, depth), depth == 0 ? later : always, product._alongA, product._alongB);
            k.GroupCommit();
        }
    }
}
