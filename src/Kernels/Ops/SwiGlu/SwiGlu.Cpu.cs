using System.Runtime.CompilerServices;
using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops.SwiGlu;

/// <summary><see cref="SwiGlu"/> on the worker team, by tokens.</summary>
internal static class SwiGluCpu
{
    public static void Forward(Tensor gateUp, Tensor y)
    {
        switch (VectorWidth.Bits)
        {
            case 512: Forward<Vector512Lanes>(gateUp, y); break;
            case 256: Forward<Vector256Lanes>(gateUp, y); break;
            default: Forward<Vector128Lanes>(gateUp, y); break;
        }
    }

    public static void Backward(Tensor dy, Tensor gateUp, Tensor dGateUp)
    {
        switch (VectorWidth.Bits)
        {
            case 512: Backward<Vector512Lanes>(dy, gateUp, dGateUp); break;
            case 256: Backward<Vector256Lanes>(dy, gateUp, dGateUp); break;
            default: Backward<Vector128Lanes>(dy, gateUp, dGateUp); break;
        }
    }

    private static void Forward<V>(Tensor gateUp, Tensor y) where V : struct, IVector<V>
    {
        var work = new ForwardWork<V> { GateUp = gateUp, Y = y, Rows = new(y.Rows, y.Columns) };
        WorkerTeam.Run(ref work, work.Rows.Tasks);
    }

    private static void Backward<V>(Tensor dy, Tensor gateUp, Tensor dGateUp) where V : struct, IVector<V>
    {
        var work = new BackwardWork<V> { Dy = dy, GateUp = gateUp, DGateUp = dGateUp, Rows = new(dy.Rows, dy.Columns) };
        WorkerTeam.Run(ref work, work.Rows.Tasks);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Sigmoid<V>(V g) where V : struct, IVector<V>
    {
        V one = V.Broadcast(1f);
        return one / (one + V.Exp(V.Zero - g));
    }

    private unsafe struct ForwardWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Tensor GateUp, Y;
        public RowPartition Rows;

        public readonly void Execute(int task)
        {
            int f = Y.Columns;
            for (long t = Rows.First(task); t < Rows.End(task); t++)
            {
                float* gate = GateUp.Pointer<float>() + t * 2 * f, up = gate + f, y = Y.Pointer<float>() + t * f;
                int j = 0;
                for (; j <= f - V.Count; j += V.Count)
                {
                    V g = V.Load(gate + j);
                    V.Store(g * Sigmoid(g) * V.Load(up + j), y + j);
                }
                if (j == f) continue;
                V tail = VectorTail.Load<V>(gate + j, f - j);
                VectorTail.Store(tail * Sigmoid(tail) * VectorTail.Load<V>(up + j, f - j), y + j, f - j);
            }
        }
    }

    private unsafe struct BackwardWork<V> : IParallelWork where V : struct, IVector<V>
    {
        public Tensor Dy, GateUp, DGateUp;
        public RowPartition Rows;

        public readonly void Execute(int task)
        {
            int f = Dy.Columns;
            for (long t = Rows.First(task); t < Rows.End(task); t++)
            {
                float* dy = Dy.Pointer<float>() + t * f;
                float* gate = GateUp.Pointer<float>() + t * 2 * f, up = gate + f;
                float* dGate = DGateUp.Pointer<float>() + t * 2 * f, dUp = dGate + f;
                int j = 0;
                for (; j <= f - V.Count; j += V.Count)
                {
                    (V g, V u) = Gradients(V.Load(dy + j), V.Load(gate + j), V.Load(up + j));
                    V.Store(g, dGate + j);
                    V.Store(u, dUp + j);
                }
                if (j == f) continue;
                (V gTail, V uTail) = Gradients(
                    VectorTail.Load<V>(dy + j, f - j), VectorTail.Load<V>(gate + j, f - j), VectorTail.Load<V>(up + j, f - j));
                VectorTail.Store(gTail, dGate + j, f - j);
                VectorTail.Store(uTail, dUp + j, f - j);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static (V Gate, V Up) Gradients(V dy, V g, V u)
        {
            V one = V.Broadcast(1f), sigma = Sigmoid(g);
            // σ joins first: it is 0 where g is hugely negative, and g alone could take the product to infinity.
            V slope = sigma * V.MultiplyAdd(g, one - sigma, one);
            return (dy * u * slope, dy * (g * sigma));
        }
    }
}
