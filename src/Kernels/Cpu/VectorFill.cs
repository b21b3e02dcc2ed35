using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cpu;

/// <summary>Fills of host memory.</summary>
internal static unsafe class VectorFill
{
    public static void Zero(Tensor tensor)
    {
        void* start = tensor.Type switch
        {
            DType.F32 => tensor.Pointer<float>(),
            DType.I32 => tensor.Pointer<int>(),
            DType.F64 => tensor.Pointer<double>(),
            _ => tensor.Pointer<BFloat16>(),
        };
        var work = new ZeroWork { Start = (byte*)start, Pieces = RowPartition.Every(tensor.Bytes, ZeroWork.BytesPerTask) };
        WorkerTeam.Run(ref work, work.Pieces.Tasks);
    }

    private struct ZeroWork : IParallelWork
    {
        // Smaller tensors are done before another thread has heard of them.
        public const long BytesPerTask = 1 << 20;

        public byte* Start;
        public RowPartition Pieces;

        public readonly void Execute(int task) => NativeMemory.Clear(Start + Pieces.First(task), (nuint)(Pieces.End(task) - Pieces.First(task)));
    }
}
