using System.Numerics;
using System.Runtime.Intrinsics;
using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Simulator;

/// <content>What the lanes of a warp do together: exchange, vote, matrices.</content>
internal sealed unsafe partial class Simulation
{
    private void Exchange(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        if (mask != LaneMath.All) throw Divergent(FaultKind.DivergentWarp, warp, mask);
        uint* d = (uint*)(warp.Rows + x.D), a = (uint*)(warp.Rows + x.A);
        Span<uint> before = stackalloc uint[32];
        new Span<uint>(a, 32).CopyTo(before);
        int n = x.Immediate;
        bool xor = x.Form == Forms.ShuffleXorF32 || x.Form == Forms.ShuffleXorB32, up = x.Form == Forms.ShuffleUpF32 || x.Form == Forms.ShuffleUpB32;
        bool down = x.Form == Forms.ShuffleDownF32 || x.Form == Forms.ShuffleDownB32;
        for (int lane = 0; lane < 32; lane++)
        {
            int from = xor ? lane ^ n : up ? lane - n : down ? lane + n : n;
            d[lane] = before[from is >= 0 and < 32 ? from : lane];
        }
    }

    private void Vote(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        if (mask != LaneMath.All) throw Divergent(FaultKind.DivergentWarp, warp, mask);
        uint votes = *(uint*)(warp.Rows + x.A);
        if (x.Form == Forms.Ballot) new Span<uint>(warp.Rows + x.D, 32).Fill(votes);
        else *(uint*)(warp.Rows + x.D) = (x.Form == Forms.VoteAny ? votes != 0 : votes == LaneMath.All) ? LaneMath.All : 0;
    }

    /// <summary>ldmatrix.x4: lane l gives the address of row l mod 8 of matrix l / 8.</summary>
    private void LoadMatrix(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        if (mask != LaneMath.All) throw Divergent(FaultKind.DivergentWarp, warp, mask);
        const int RowBytes = 16;
        Span<long> addresses = stackalloc long[32];
        int* given = (int*)(warp.Rows + x.A);
        for (int lane = 0; lane < 32; lane++)
        {
            addresses[lane] = given[lane];
            RequireAligned(warp, lane, given[lane], RowBytes);
            Touch(warp, Space.Shared, lane, given[lane], RowBytes, write: false);
        }
        if (_shadow is not null) AccessCounting.Shared(ref _counts[warp.Counter], addresses, mask, RowBytes);
        bool transposed = x.Form == Forms.LoadMatrixTransposed;
        for (int matrix = 0; matrix < 4; matrix++)
        {
            uint* d = (uint*)(warp.Rows + x.Rows[matrix]);
            for (int lane = 0; lane < 32; lane++)
            {
                int major = lane >> 2, minor = (lane & 3) * 2;
                ushort low = transposed ? Element(matrix, minor, major) : Element(matrix, major, minor);
                ushort high = transposed ? Element(matrix, minor + 1, major) : Element(matrix, major, minor + 1);
                d[lane] = low | (uint)high << 16;
            }
        }

        ushort Element(int matrix, int row, int column) => ((ushort*)(_shared + given[matrix * 8 + row]))[column];
    }

    /// <summary>
    /// mma.m16n8k16: with g = lane / 4 and t = lane mod 4, A's registers hold (g, 2t), (g+8, 2t), (g, 2t+8), (g+8, 2t+8) and the
    /// column after each; B's hold rows 2t and 2t+8, and the row after each, of column g; C's as <see cref="Staging.Accumulator"/> says.
    /// Products of bfloat16 are exact in float32; the sums are taken in ascending k. The card's order and rounding differ.
    /// </summary>
    private void MultiplyMatrices(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        if (mask != LaneMath.All) throw Divergent(FaultKind.DivergentWarp, warp, mask);
        float* a = stackalloc float[16 * 16], b = stackalloc float[16 * 8], c = stackalloc float[16 * 8];
        const int FirstA = 4, FirstB = 8, FirstC = 10;
        for (int lane = 0; lane < 32; lane++)
        {
            int g = lane >> 2, t = (lane & 3) * 2;
            for (int r = 0; r < 4; r++)
                Unpack(((uint*)(warp.Rows + x.Rows[FirstA + r]))[lane], a + (g + (r & 1) * 8) * 16 + t + (r >> 1) * 8, 1);
            for (int r = 0; r < 2; r++)
                Unpack(((uint*)(warp.Rows + x.Rows[FirstB + r]))[lane], b + (t + r * 8) * 8 + g, 8);
            for (int r = 0; r < 4; r++)
                c[(g + (r >> 1) * 8) * 8 + t + (r & 1)] = ((float*)(warp.Rows + x.Rows[FirstC + r]))[lane];
        }
        for (int i = 0; i < 16; i++)
        {
            Vector256<float> sum = Vector256.Load(c + i * 8);
            for (int k = 0; k < 16; k++) sum = Vector256.FusedMultiplyAdd(Vector256.Create(a[i * 16 + k]), Vector256.Load(b + k * 8), sum);
            sum.Store(c + i * 8);
        }
        for (int lane = 0; lane < 32; lane++)
        {
            int g = lane >> 2, t = (lane & 3) * 2;
            for (int r = 0; r < 4; r++) ((float*)(warp.Rows + x.Rows[r]))[lane] = c[(g + (r >> 1) * 8) * 8 + t + (r & 1)];
        }
    }

    private static void Unpack(uint pair, float* target, int stride)
    {
        target[0] = BitConverter.UInt32BitsToSingle(pair << 16);
        target[stride] = BitConverter.UInt32BitsToSingle(pair & 0xFFFF0000);
    }
}
