using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using Bellman.Kernels.Cuda.Driver;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>A driver made of host memory: it copies, counts and records, and fails where it is told to.</summary>
internal sealed unsafe class FakeCudaDriver : ICudaDriver
{
    private readonly Dictionary<nint, nuint> _memory = [];
    private readonly Dictionary<nint, string> _functions = [];
    private readonly Dictionary<(int, bool), nint> _words = [];
    private nint _next = 1000;

    public int Version { get; init; } = 12040;
    public int Capability { get; init; } = 90;
    public long Capacity { get; init; } = 1L << 30;

    /// <summary>The method that fails, and with what.</summary>
    public string Failing { get; set; } = "";
    public int Code { get; set; }

    public List<(string Kernel, long[] Arguments)> Launches { get; } = [];
    public int Loads { get; private set; }
    public int Captures { get; private set; }
    public int CapturesEnded { get; private set; }
    public int GraphsDestroyed { get; private set; }
    public int GraphLaunches { get; private set; }
    public int StreamWaits { get; private set; }
    public int EventWaits { get; private set; }

    /// <summary>Page-locked memory that is not freed.</summary>
    public int HostHeld { get; private set; }

    /// <summary>Allocations that are not freed.</summary>
    public int Held
    {
        get
        {
            lock (_memory) return _memory.Count;
        }
    }

    private int Result([CallerMemberName] string method = "") => method == Failing ? Code : 0;

    private int Make(nint* handle, [CallerMemberName] string method = "")
    {
        *handle = _next++;
        return Result(method);
    }

    public int Init(uint flags) => Result();

    public int DriverGetVersion(int* version)
    {
        *version = Version;
        return Result();
    }

    public int DeviceGetCount(int* count)
    {
        *count = 1;
        return Result();
    }

    public int DeviceGet(int* device, int ordinal)
    {
        *device = ordinal;
        return Result();
    }

    public int DeviceGetName(byte* name, int length, int device)
    {
        Encoding.UTF8.GetBytes("Fake H200\0").CopyTo(new Span<byte>(name, length));
        return Result();
    }

    public int DeviceGetAttribute(int* value, int attribute, int device)
    {
        *value = attribute switch { 75 => Capability / 10, 76 => Capability % 10, _ => 1 };
        return Result();
    }

    public int DeviceGetDefaultMemPool(nint* pool, int device) => Make(pool);

    /// <summary>Bytes that the pool keeps of freed memory.</summary>
    public long PoolIdle { get; set; }

    public int MemPoolGetAttribute(nint pool, int attribute, void* value)
    {
        *(long*)value = attribute == 5 ? 1000 + PoolIdle : 1000;
        return Result();
    }

    public int MemPoolSetAttribute(nint pool, int attribute, void* value) => *(ulong*)value == ulong.MaxValue ? Result() : 1;

    public int DevicePrimaryCtxRetain(nint* context, int device) => Make(context);

    public int CtxSetCurrent(nint context) => Result();

    public int MemGetInfo(nuint* free, nuint* total)
    {
        lock (_memory) *free = (nuint)(Capacity - _memory.Values.Sum(x => (long)x));
        *total = (nuint)Capacity;
        return Result();
    }

    public int MemAllocAsync(nint* address, nuint bytes, nint stream)
    {
        lock (_memory)
        {
            if (_memory.Values.Sum(x => (long)x) + (long)bytes > Capacity) return CudaApi.OutOfMemory;
            *address = (nint)NativeMemory.AlignedAlloc(bytes, 256);
            _memory[*address] = bytes;
        }
        return Result();
    }

    public int MemFreeAsync(nint address, nint stream)
    {
        lock (_memory)
        {
            // The driver would report a second free; the test would not see it, so it is counted as memory that stays.
            if (!_memory.Remove(address)) _memory[-_next++] = 0;
            else NativeMemory.AlignedFree((void*)address);
        }
        return Result();
    }

    public int MemcpyHtoDAsync(nint target, void* source, nuint bytes, nint stream)
    {
        Buffer.MemoryCopy(source, (void*)target, bytes, bytes);
        return Result();
    }

    public int MemcpyDtoHAsync(void* target, nint source, nuint bytes, nint stream)
    {
        Buffer.MemoryCopy((void*)source, target, bytes, bytes);
        return Result();
    }

    public int MemcpyDtoDAsync(nint target, nint source, nuint bytes, nint stream)
    {
        Buffer.MemoryCopy((void*)source, (void*)target, bytes, bytes);
        return Result();
    }

    public int MemsetD8Async(nint target, byte value, nuint bytes, nint stream)
    {
        NativeMemory.Fill((void*)target, bytes, value);
        return Result();
    }

    public int StreamCreate(nint* stream, uint flags) => Make(stream);

    public int StreamDestroy(nint stream) => Result();

    public int StreamSynchronize(nint stream)
    {
        StreamWaits++;
        return Result();
    }

    public int StreamBeginCapture(nint stream, int mode)
    {
        Captures++;
        return Result();
    }

    public int StreamEndCapture(nint stream, nint* graph)
    {
        CapturesEnded++;
        return Make(graph);
    }

    public int GraphInstantiate(nint* executable, nint graph, ulong flags) => Make(executable);

    public int GraphLaunch(nint executable, nint stream)
    {
        GraphLaunches++;
        return Result();
    }

    public int GraphExecDestroy(nint executable) => Result();

    public int GraphDestroy(nint graph)
    {
        GraphsDestroyed++;
        return Result();
    }

    public int EventCreate(nint* handle, uint flags) => Make(handle);

    public int EventDestroy(nint handle) => Result();

    public int EventRecord(nint handle, nint stream) => Result();

    public int EventSynchronize(nint handle)
    {
        EventWaits++;
        return Result();
    }

    public int MemAllocHost(void** address, nuint bytes)
    {
        *address = NativeMemory.Alloc(bytes);
        HostHeld++;
        return Result();
    }

    public int MemFreeHost(void* address)
    {
        NativeMemory.Free(address);
        HostHeld--;
        return Result();
    }

    public int EventElapsedTime(float* milliseconds, nint start, nint end)
    {
        *milliseconds = 1.5f;
        return Result();
    }

    public int ModuleLoadDataEx(nint* module, byte* image, uint options, int* names, void** values)
    {
        Loads++;
        for (int i = 0; i < options; i++)
            if (names[i] is 3 or 5) Encoding.UTF8.GetBytes(names[i] == 3 ? "fake information\0" : "line 1: bad\nline 2: worse\n\0").CopyTo(new Span<byte>(values[i], 100));
        return Make(module);
    }

    public int ModuleGetFunction(nint* function, nint module, byte* name)
    {
        int result = Make(function);
        _functions[*function] = Marshal.PtrToStringUTF8((nint)name)!;
        return result;
    }

    public int FuncGetAttribute(int* value, int attribute, nint function)
    {
        *value = attribute == 4 ? 32 : 0;
        return Result();
    }

    public int FuncSetAttribute(nint function, int attribute, int value) => Result();

    public int LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** arguments, void** extra)
    {
        int count = _functions[function].StartsWith("residual", StringComparison.Ordinal) ? 5 : 0;
        var values = new long[count];
        for (int i = 0; i < count; i++) values[i] = i is 2 or 4 ? *(uint*)arguments[i] : *(long*)arguments[i];
        Launches.Add((_functions[function], values));
        return Result();
    }

    public bool HasTensorMaps { get; init; } = true;

    /// <summary>What tensor maps were made of: address, sizes, stride, box rows.</summary>
    public List<(long Address, ulong Columns, ulong Rows, ulong Stride, uint BoxColumns, uint BoxRows)> Maps { get; } = [];

    public int TensorMapEncodeTiled(
        void* map, int type, uint rank, void* address, ulong* sizes, ulong* strides, uint* box, uint* steps, int interleave, int swizzle, int promotion, int fill)
    {
        // As the driver: addresses of 16 bytes, a map of 64.
        if ((long)address % 16 != 0 || (long)map % 64 != 0 || strides[0] % 16 != 0 || type != 9 || rank != 2 || swizzle != 3) return 1;
        Maps.Add(((long)address, sizes[0], sizes[1], strides[0], box[0], box[1]));
        *(long*)map = Maps.Count;
        return Result();
    }

    public int GetErrorName(int error, byte** name) => Words(error, name, $"CUDA_ERROR_{error}", false);

    public int GetErrorString(int error, byte** text) => Words(error, text, $"fake words {error}", true);

    private int Words(int error, byte** target, string words, bool text)
    {
        if (!_words.TryGetValue((error, text), out nint kept)) _words[(error, text)] = kept = Marshal.StringToCoTaskMemUTF8(words);
        *target = (byte*)kept;
        return 0;
    }
}
