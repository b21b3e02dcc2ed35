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
        System.Runtime.InteropServices.NativeMemory.Clear(start, (nuint)tensor.Bytes);
    }
}
