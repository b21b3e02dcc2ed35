using System.Text;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda.Driver;

/// <summary>What the driver made of a kernel.</summary>
/// <param name="Name">The kernel.</param>
/// <param name="PtxHash">Hash of its text.</param>
/// <param name="Registers">Registers a thread.</param>
/// <param name="LocalBytes">Bytes a thread that did not fit registers; anything but 0 is slow.</param>
/// <param name="Log">The assembler's words.</param>
internal sealed record KernelFacts(string Name, string PtxHash, int Registers, int LocalBytes, string Log);

/// <summary>Kernels as the driver has assembled them, each once, by the hash of their text.</summary>
internal sealed unsafe class CudaModules(CudaContext context)
{
    private const int InfoLog = 3, InfoLogBytes = 4, ErrorLog = 5, ErrorLogBytes = 6, LogVerbose = 12;
    private const int LocalBytesAttribute = 3, RegistersAttribute = 4, MaxSharedAttribute = 8;
    private const int LogBytes = 16384, SharedWithoutAsking = 48 * 1024;
    private readonly Dictionary<Kernel, nint> _functions = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<string, nint> _byHash = [];

    /// <summary>What was loaded, in order.</summary>
    public List<KernelFacts> Facts { get; } = [];

    /// <summary>The function of a kernel.</summary>
    /// <exception cref="DeviceException">The driver refuses the text: the message names the kernel and quotes the log.</exception>
    public nint Function(Kernel kernel)
    {
        if (_functions.TryGetValue(kernel, out nint function)) return function;
        if (!_byHash.TryGetValue(kernel.PtxHash, out function)) _byHash[kernel.PtxHash] = function = Load(kernel);
        return _functions[kernel] = function;
    }

    private nint Load(Kernel kernel)
    {
        CudaApi api = context.Api;
        var errors = new byte[LogBytes];
        var information = new byte[LogBytes];
        byte[] text = [.. Encoding.UTF8.GetBytes(kernel.Ptx), 0], name = [.. Encoding.UTF8.GetBytes(kernel.Name), 0];
        nint module = 0, function = 0;
        fixed (byte* image = text, entry = name, error = errors, info = information)
        {
            int* names = stackalloc int[] { InfoLog, InfoLogBytes, ErrorLog, ErrorLogBytes, LogVerbose };
            void** values = stackalloc void*[] { info, (void*)(nuint)LogBytes, error, (void*)(nuint)LogBytes, (void*)1 };
            int result = api.Raw.ModuleLoadDataEx(&module, image, 5, names, values);
            if (result != 0)
                throw new DeviceException($"CUDA: kernel {kernel.Name} (PTX {kernel.PtxHash}) could not be loaded: {api.Describe(result)}; the assembler says: {OneLine(errors)}");
            api.Check(api.Raw.ModuleGetFunction(&function, module, entry), kernel.Name);
        }
        if (kernel.SharedBytes > SharedWithoutAsking) api.Check(api.Raw.FuncSetAttribute(function, MaxSharedAttribute, kernel.SharedBytes), kernel.Name);
        int registers = 0, local = 0;
        api.Check(api.Raw.FuncGetAttribute(&registers, RegistersAttribute, function), kernel.Name);
        api.Check(api.Raw.FuncGetAttribute(&local, LocalBytesAttribute, function), kernel.Name);
        Facts.Add(new(kernel.Name, kernel.PtxHash, registers, local, OneLine(information)));
        return function;
    }

    private static string OneLine(byte[] log)
    {
        int end = Array.IndexOf(log, (byte)0);
        string text = Encoding.UTF8.GetString(log, 0, end < 0 ? log.Length : end);
        string joined = string.Join(" | ", text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Take(6));
        return joined.Length == 0 ? "nothing" : joined;
    }
}
