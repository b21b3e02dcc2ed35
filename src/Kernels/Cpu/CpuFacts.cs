namespace Bellman.Kernels.Cpu;

/// <summary>What the CPU kernels make of this machine, for people who look for the reason of a speed.</summary>
public static class CpuFacts
{
    /// <summary>Width of the vectors in use, in bits: 512, 256 or 128.</summary>
    public static int VectorBits => VectorWidth.Bits;

    /// <summary>Threads that share the work of an op.</summary>
    public static int Threads => WorkerTeam.Threads;
}
