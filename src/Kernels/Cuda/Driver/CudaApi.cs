using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cuda.Driver;

/// <summary>The driver's calls that throw: every result passes <see cref="Check"/>.</summary>
internal sealed unsafe class CudaApi(ICudaDriver driver)
{
    public const int OutOfMemory = 2;

    /// <summary>The raw functions.</summary>
    public ICudaDriver Raw => driver;

    /// <summary>Throws when a call failed: the call as written, the driver's name and words for the error.</summary>
    public void Check(int result, string doing = "", [CallerArgumentExpression(nameof(result))] string call = "")
    {
        if (result == 0) return;
        // "api.Raw.MemAllocAsync(&address, …)" is known to users as cuMemAllocAsync.
        int end = call.IndexOf('('), start = end < 0 ? -1 : call.LastIndexOf('.', end);
        string function = start < 0 ? call : "cu" + call[(start + 1)..end];
        throw new DeviceException($"CUDA: {function}{(doing.Length == 0 ? "" : $" ({doing})")} failed: {Describe(result)}{Remedy(result)}");
    }

    /// <summary>Name and words of an error, such as "CUDA_ERROR_NO_DEVICE (100): no CUDA-capable device is detected".</summary>
    public string Describe(int result)
    {
        byte* name = null, text = null;
        if (driver.GetErrorName(result, &name) != 0 || name is null) return $"error {result}";
        if (driver.GetErrorString(result, &text) != 0 || text is null) return $"{Marshal.PtrToStringUTF8((nint)name)} ({result})";
        return $"{Marshal.PtrToStringUTF8((nint)name)} ({result}): {Marshal.PtrToStringUTF8((nint)text)}";
    }

    public int Attribute(int attribute, int device)
    {
        int value = 0;
        Check(driver.DeviceGetAttribute(&value, attribute, device));
        return value;
    }

    private static string Remedy(int result) => result switch
    {
        100 => "; check that the machine has an NVIDIA card and that this process may use it.",
        700 or 702 or 719 => "; a kernel went wrong and the device cannot be used any more in this process. Checkpoints on disk are whole; start again.",
        803 => "; the driver's library and kernel module differ; restart the machine after updating the driver.",
        _ => ".",
    };
}
