using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;
using Bellman.Kernels;
using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cuda;

namespace Bellman.Training.Jobs;

/// <summary>The machine as this program sees it.</summary>
public sealed record MachineReport
{
    /// <summary>Operating system and architecture.</summary>
    public required string System { get; init; }

    /// <summary>.NET runtime.</summary>
    public required string Runtime { get; init; }

    /// <summary>Width of the vectors that the CPU kernels use, in bits.</summary>
    public required int VectorBits { get; init; }

    /// <summary>Instruction sets of note that the processor has.</summary>
    public required IReadOnlyList<string> InstructionSets { get; init; }

    /// <summary>Threads that share the work of an op.</summary>
    public required int Threads { get; init; }

    /// <summary>Memory that this process may use, in bytes; a container's limit counts.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Folder that <see cref="FreeDiskBytes"/> is about.</summary>
    public required string Folder { get; init; }

    /// <summary>Free space where that folder is, in bytes; null when the system does not say.</summary>
    public required long? FreeDiskBytes { get; init; }

    /// <summary>CUDA drivers that were looked for, in order.</summary>
    public required IReadOnlyList<CudaDriverProbe> Drivers { get; init; }

    /// <summary>The card that <c>auto</c> and <c>cuda</c> take; null when there is none that can be used.</summary>
    public required Device? Cuda { get; init; }

    /// <summary>Why there is none: what was looked for and why it failed; null when there is.</summary>
    public required string? CudaProblem { get; init; }

    /// <summary>What cards have run of this build's kernels.</summary>
    public required SiliconRecord Silicon { get; init; }

    /// <summary>Looks at the machine.</summary>
    /// <param name="folder">Folder whose disk is asked for free space.</param>
    public static MachineReport Collect(string folder)
    {
        DeviceSelection selection = DeviceSelection.Of(DeviceChoice.Auto);
        return new MachineReport
        {
            System = $"{RuntimeInformation.OSDescription.Trim()}, {RuntimeInformation.OSArchitecture}",
            Runtime = RuntimeInformation.FrameworkDescription,
            VectorBits = CpuFacts.VectorBits,
            InstructionSets = Sets(),
            Threads = CpuFacts.Threads,
            MemoryBytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes,
            Folder = folder,
            FreeDiskBytes = FreeDisk(folder),
            Drivers = CudaDriverProbe.LookForAll(),
            Cuda = selection.WhyNotCuda is null ? selection.Device : null,
            CudaProblem = selection.WhyNotCuda,
            Silicon = SiliconRecord.BuiltIn,
        };
    }

    private static List<string> Sets()
    {
        var sets = new List<string>();
        if (Avx512F.IsSupported) sets.Add("AVX-512");
        if (Avx2.IsSupported) sets.Add("AVX2");
        if (Fma.IsSupported) sets.Add("FMA");
        if (global::System.Runtime.Intrinsics.Arm.AdvSimd.IsSupported) sets.Add("AdvSIMD");
        return sets;
    }

    private static long? FreeDisk(string folder)
    {
        try
        {
            return new DriveInfo(Path.GetFullPath(folder)).AvailableFreeSpace;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException)
        {
            return null;
        }
    }
}
