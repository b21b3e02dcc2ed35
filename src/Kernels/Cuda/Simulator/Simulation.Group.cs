using System.Runtime.Intrinsics;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda.Simulator;

/// <content>
/// Matrix products of warp groups. Each warp computes its own 16 of the 64 rows, as late as the kernel allows: when it waits. Until then the
/// operands' shared memory is marked as being read and the accumulators as being written.
/// </content>
internal sealed unsafe partial class Simulation
{
    private const int Depth = 16, RowsOfWarp = 16;

    /// <summary>An operand of a product: places across and of the summed index, as its descriptor has them.</summary>
    private readonly struct GroupOperand(long descriptor, bool along)
    {
        private readonly int _start = (int)(descriptor & 0x3FFF) << 4, _leading = (int)(descriptor >> 16 & 0x3FFF) << 4, _stride = (int)(descriptor >> 32 & 0x3FFF) << 4;

        public bool IsSwizzled => (ulong)descriptor >> 62 == 1 && (descriptor >> 49 & 7) == 0;

        /// <summary>First byte of eight neighbours: of the summed index where it lies along the rows, else across.</summary>
        public int Chunk(int across, int depth) => Swizzled(along
            ? _start + across / 8 * _stride + across % 8 * TensorBox.RowBytes + depth * sizeof(ushort)
            : _start + across / 64 * _leading + across % 64 * sizeof(ushort) + depth / 8 * _stride + depth % 8 * TensorBox.RowBytes);
    }

    private void RequireGroup(SimulatedWarp warp, uint mask)
    {
        if (mask != LaneMath.All) throw Divergent(FaultKind.DivergentWarp, warp, mask);
    }

    /// <summary>Registers of products under way are touched by nothing else.</summary>
    private void CheckProducts(SimulatedWarp warp, ref Decoded x)
    {
        warp.Time++;
        if (x.Kind == Ptx.FormKind.GroupMultiply) return;
        foreach (int register in x.Sources) CheckProduct(warp, register, "reads");
        foreach (int register in x.Destinations)
        {
            CheckProduct(warp, register, "writes");
            if (warp.ReadUnderWay[register] != 0) throw Fault(FaultKind.PendingProduct, warp, -1, $"writes register {register}, which a matrix product under way reads; wait for its group first");
            warp.WrittenAt[register] = warp.Time;
        }
    }

    private void CheckProduct(SimulatedWarp warp, int register, string what)
    {
        if (warp.UnderWay[register] != 0) throw Fault(FaultKind.PendingProduct, warp, -1, $"{what} register {register}, which a matrix product under way will write; wait for its group first");
    }

    private void StartProduct(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        RequireGroup(warp, mask);
        if (_warps.Length % 4 != 0) throw Fault(FaultKind.DivergentWarp, warp, -1, $"a block of {_warps.Length} warps has no whole warp groups");
        // Two descriptors, or four registers and one.
        bool registers = x.Form.LeftInRegisters;
        long* right = (long*)(warp.Rows + x.Rows[^2]), left = registers ? right : (long*)(warp.Rows + x.Rows[^3]);
        long a = registers ? 0 : left[0], b = right[0];
        uint add = *(uint*)(warp.Rows + x.Rows[^1]);
        for (int lane = 1; lane < 32; lane++)
            if (left[lane] != left[0] || right[lane] != b) throw Fault(FaultKind.BadDescriptor, warp, lane, "descriptors differ between lanes");
        if (add is not (0 or LaneMath.All)) throw Fault(FaultKind.BadDescriptor, warp, -1, "some lanes add and others overwrite");
        var pending = new PendingProduct(warp.Counter, a, b, add != 0, warp.ProductGroup);
        // Four warps must do the same in the same order.
        warp.ProductTrace = warp.ProductTrace * 1000003 + warp.Counter * 31 + a * 7 + b + 1;
        foreach (int register in x.Destinations)
        {
            // The instruction itself counts as setting its accumulators; whether they were set before, only their time tells.
            if (_shadow is not null && add != 0 && warp.WrittenAt[register] == 0 && warp.UnderWay[register] == 0 && warp.Accumulated[register] == 0)
                throw Fault(FaultKind.UnsetRegister, warp, 0, $"adds to register {register}, which nothing has set");
            if (_shadow is not null && warp.WrittenAt[register] > warp.FencedAt) throw Fault(FaultKind.MissingFence, warp, -1, $"register {register} was written after the last fence of this warp's products");
            warp.UnderWay[register]++;
        }
        foreach (int register in Left(ref x))
        {
            if (_shadow is not null && warp.WrittenAt[register] > warp.FencedAt) throw Fault(FaultKind.MissingFence, warp, -1, $"register {register} was written after the last fence of this warp's products");
            warp.ReadUnderWay[register]++;
        }
        if (_shadow is not null && warp.FencedAt == 0) throw Fault(FaultKind.MissingFence, warp, -1, "no fence comes before the first product");
        warp.Products.Add(pending);
        Visit(warp, ref x, pending, start: true);
    }

    private void FinishProducts(SimulatedWarp warp, uint mask, int groups)
    {
        RequireGroup(warp, mask);
        int done = 0;
        foreach (PendingProduct product in warp.Products)
        {
            if (product.Group >= warp.ProductGroup - groups) break;
            ref Decoded x = ref _code[product.Instruction];
            Multiply(warp, ref x, product);
            foreach (int register in x.Destinations)
            {
                warp.UnderWay[register]--;
                warp.Accumulated[register] = 1;
            }
            foreach (int register in Left(ref x)) warp.ReadUnderWay[register]--;
            Visit(warp, ref x, product, start: false);
            done++;
        }
        warp.Products.RemoveRange(0, done);
        // All lanes have met here.
        _shadow?.WarpBarrier(warp.Number);
    }

    /// <summary>Registers of the left operand, where it comes in registers.</summary>
    private static ReadOnlySpan<int> Left(ref Decoded x) => x.Form.LeftInRegisters ? x.Sources.AsSpan(0, 4) : [];

    private static (GroupOperand A, GroupOperand B, int Columns) Operands(ref Decoded x, in PendingProduct product) =>
        (new(product.A, (x.Immediate & 1) == 0), new(product.B, (x.Immediate & 2) == 0), 2 * x.Destinations.Length);

    /// <summary>Marks or unmarks all that a product of one warp reads.</summary>
    private void Visit(SimulatedWarp warp, ref Decoded x, in PendingProduct product, bool start)
    {
        (GroupOperand a, GroupOperand b, int columns) = Operands(ref x, product);
        bool registers = x.Form.LeftInRegisters;
        if (!(registers || a.IsSwizzled) || !b.IsSwizzled) throw Fault(FaultKind.BadDescriptor, warp, -1, "only tiles swizzled over 128 bytes are known here");
        bool alongA = (x.Immediate & 1) == 0, alongB = (x.Immediate & 2) == 0;
        int first = warp.Number % 4 * RowsOfWarp;
        if (!registers) Chunks(warp, a, alongA, first, RowsOfWarp, start);
        Chunks(warp, b, alongB, 0, columns, start);
    }

    private void Chunks(SimulatedWarp warp, GroupOperand operand, bool along, int first, int count, bool start)
    {
        for (int across = first; across < first + count; across += along ? 1 : 8)
            for (int depth = 0; depth < Depth; depth += along ? 8 : 1)
            {
                int address = operand.Chunk(across, depth);
                RequireShared(warp, -1, address, 16);
                if (_shadow is null) continue;
                if (!start) _shadow.FinishGroupRead(address, 16, warp.Number);
                else if (_shadow.StartGroupRead(address, 16, warp.Number) is { } problem) throw Fault(problem.Kind, warp, -1, problem.Detail);
            }
    }

    /// <summary>
    /// The warp's 16 rows: products of bfloat16 are exact in float32, sums are taken in ascending order of the summed index. The card's order
    /// and rounding differ.
    /// </summary>
    private void Multiply(SimulatedWarp warp, ref Decoded x, in PendingProduct product)
    {
        (GroupOperand a, GroupOperand b, int columns) = Operands(ref x, product);
        bool alongA = (x.Immediate & 1) == 0, alongB = (x.Immediate & 2) == 0;
        int first = warp.Number % 4 * RowsOfWarp;
        float* left = stackalloc float[RowsOfWarp * Depth], right = stackalloc float[Depth * 256], sums = stackalloc float[RowsOfWarp * 256];
        if (x.Form.LeftInRegisters) UnpackLeft(warp, ref x, left);
        else for (int across = 0; across < RowsOfWarp; across += alongA ? 1 : 8)
            for (int depth = 0; depth < Depth; depth += alongA ? 8 : 1)
            {
                ushort* chunk = (ushort*)(_shared + a.Chunk(first + across, depth));
                for (int i = 0; i < 8; i++) left[(alongA ? across : across + i) * Depth + (alongA ? depth + i : depth)] = BitConverter.UInt32BitsToSingle((uint)chunk[i] << 16);
            }
        for (int across = 0; across < columns; across += alongB ? 1 : 8)
            for (int depth = 0; depth < Depth; depth += alongB ? 8 : 1)
            {
                ushort* chunk = (ushort*)(_shared + b.Chunk(across, depth));
                for (int i = 0; i < 8; i++) right[(alongB ? depth + i : depth) * columns + (alongB ? across : across + i)] = BitConverter.UInt32BitsToSingle((uint)chunk[i] << 16);
            }
        for (int register = 0; register < x.Destinations.Length; register++)
            for (int lane = 0; lane < 32; lane++)
                sums[Place(lane, register, columns)] = product.Add ? ((float*)(warp.Rows + x.Rows[register]))[lane] : 0;
        for (int row = 0; row < RowsOfWarp; row++)
            for (int column = 0; column < columns; column += 8)
            {
                Vector256<float> sum = Vector256.Load(sums + row * columns + column);
                for (int k = 0; k < Depth; k++) sum = Vector256.FusedMultiplyAdd(Vector256.Create(left[row * Depth + k]), Vector256.Load(right + k * columns + column), sum);
                sum.Store(sums + row * columns + column);
            }
        for (int register = 0; register < x.Destinations.Length; register++)
            for (int lane = 0; lane < 32; lane++) ((float*)(warp.Rows + x.Rows[register]))[lane] = sums[Place(lane, register, columns)];
    }

    /// <summary>The warp's 16×16 of the left operand from registers, which lie as those of mma.m16n8k16.</summary>
    private static void UnpackLeft(SimulatedWarp warp, ref Decoded x, float* left)
    {
        for (int register = 0; register < 4; register++)
            for (int lane = 0; lane < 32; lane++)
                Unpack(((uint*)(warp.Rows + x.Rows[x.Destinations.Length + register]))[lane], left + ((lane >> 2) + (register & 1) * 8) * Depth + (lane & 3) * 2 + (register >> 1) * 8, 1);
    }

    // Where a lane's register lies among the warp's 16 rows: of eight columns as mma has it.
    private static int Place(int lane, int register, int columns) =>
        ((lane >> 2) + (register >> 1 & 1) * 8) * columns + (register >> 2) * 8 + (lane & 3) * 2 + (register & 1);
}
