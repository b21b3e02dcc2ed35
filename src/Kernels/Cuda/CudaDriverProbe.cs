using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cuda;

/// <summary>The search for one file of the NVIDIA driver.</summary>
/// <param name="Library">Name that the system's loader was given.</param>
/// <param name="Found">Whether the loader had it.</param>
/// <param name="Answer">What the driver said, or why it could not be asked.</param>
public sealed record CudaDriverProbe(string Library, bool Found, string Answer)
{
    /// <summary>Looks for the driver under each of its names and asks what is found for version and devices.</summary>
    public static IReadOnlyList<CudaDriverProbe> LookForAll() =>
        [.. (OperatingSystem.IsWindows() ? ["nvcuda.dll"] : new[] { "libcuda.so.1", "libcuda.so" }).Select(LookFor)];

    private static CudaDriverProbe LookFor(string library)
    {
        if (!NativeLibrary.TryLoad(library, out nint handle)) return new(library, false, "the system's loader has no such library; it comes with the NVIDIA driver");
        try
        {
            return new(library, true, Ask(handle));
        }
        finally
        {
            NativeLibrary.Free(handle);
        }
    }

    private static unsafe string Ask(nint handle)
    {
        if (!NativeLibrary.TryGetExport(handle, "cuInit", out nint init) || !NativeLibrary.TryGetExport(handle, "cuDriverGetVersion", out nint getVersion)
            || !NativeLibrary.TryGetExport(handle, "cuDeviceGetCount", out nint getCount)) return "it lacks the driver's entry points (cuInit, cuDriverGetVersion, cuDeviceGetCount)";
        int result = ((delegate* unmanaged<uint, int>)init)(0);
        // A driver without a device is told apart from no driver at all: the remedy differs.
        if (result != 0) return $"cuInit failed with error {result}: the driver is there, but no usable GPU is";
        int version = 0, devices = 0;
        if (((delegate* unmanaged<int*, int>)getVersion)(&version) != 0 || ((delegate* unmanaged<int*, int>)getCount)(&devices) != 0) return "the driver refused to tell its version and devices";
        return $"driver for CUDA {version / 1000}.{version % 1000 / 10}, {devices} device{(devices == 1 ? "" : "s")}";
    }
}
