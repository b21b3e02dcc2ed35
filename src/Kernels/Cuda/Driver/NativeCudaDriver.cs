using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cuda.Driver;

/// <summary>
/// The driver that is installed: libcuda, loaded when first asked for, its functions called through their addresses. Nothing
/// here allocates or throws after loading.
/// </summary>
internal sealed unsafe class NativeCudaDriver : ICudaDriver
{
    private static readonly Lock Gate = new();
    private static readonly string[] Names = OperatingSystem.IsWindows() ? ["nvcuda.dll"] : ["libcuda.so.1", "libcuda.so"];
    private static NativeCudaDriver? s_loaded;

    private readonly delegate* unmanaged<uint, int> _init;
    private readonly delegate* unmanaged<int*, int> _driverGetVersion;
    private readonly delegate* unmanaged<int*, int> _deviceGetCount;
    private readonly delegate* unmanaged<int*, int, int> _deviceGet;
    private readonly delegate* unmanaged<byte*, int, int, int> _deviceGetName;
    private readonly delegate* unmanaged<int*, int, int, int> _deviceGetAttribute;
    private readonly delegate* unmanaged<nint*, int, int> _deviceGetDefaultMemPool;
    private readonly delegate* unmanaged<nint, int, void*, int> _memPoolSetAttribute;
    private readonly delegate* unmanaged<nint, int, void*, int> _memPoolGetAttribute;
    private readonly delegate* unmanaged<nint*, int, int> _devicePrimaryCtxRetain;
    private readonly delegate* unmanaged<nint, int> _ctxSetCurrent;
    private readonly delegate* unmanaged<nuint*, nuint*, int> _memGetInfo;
    private readonly delegate* unmanaged<nint*, nuint, nint, int> _memAllocAsync;
    private readonly delegate* unmanaged<nint, nint, int> _memFreeAsync;
    private readonly delegate* unmanaged<void**, nuint, int> _memAllocHost;
    private readonly delegate* unmanaged<void*, int> _memFreeHost;
    private readonly delegate* unmanaged<nint, void*, nuint, nint, int> _memcpyHtoDAsync;
    private readonly delegate* unmanaged<void*, nint, nuint, nint, int> _memcpyDtoHAsync;
    private readonly delegate* unmanaged<nint, nint, nuint, nint, int> _memcpyDtoDAsync;
    private readonly delegate* unmanaged<nint, byte, nuint, nint, int> _memsetD8Async;
    private readonly delegate* unmanaged<nint*, uint, int> _streamCreate;
    private readonly delegate* unmanaged<nint, int> _streamDestroy;
    private readonly delegate* unmanaged<nint, int> _streamSynchronize;
    private readonly delegate* unmanaged<nint, int, int> _streamBeginCapture;
    private readonly delegate* unmanaged<nint, nint*, int> _streamEndCapture;
    private readonly delegate* unmanaged<nint*, nint, ulong, int> _graphInstantiate;
    private readonly delegate* unmanaged<nint, nint, int> _graphLaunch;
    private readonly delegate* unmanaged<nint, int> _graphExecDestroy;
    private readonly delegate* unmanaged<nint, int> _graphDestroy;
    private readonly delegate* unmanaged<nint*, uint, int> _eventCreate;
    private readonly delegate* unmanaged<nint, int> _eventDestroy;
    private readonly delegate* unmanaged<nint, nint, int> _eventRecord;
    private readonly delegate* unmanaged<nint, int> _eventSynchronize;
    private readonly delegate* unmanaged<float*, nint, nint, int> _eventElapsedTime;
    private readonly delegate* unmanaged<nint*, byte*, uint, int*, void**, int> _moduleLoadDataEx;
    private readonly delegate* unmanaged<nint*, nint, byte*, int> _moduleGetFunction;
    private readonly delegate* unmanaged<int*, int, nint, int> _funcGetAttribute;
    private readonly delegate* unmanaged<nint, int, int, int> _funcSetAttribute;
    private readonly delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int> _launchKernel;
    private readonly delegate* unmanaged<void*, int, uint, void*, ulong*, ulong*, uint*, uint*, int, int, int, int, int> _tensorMapEncodeTiled;
    private readonly delegate* unmanaged<int, byte**, int> _getErrorName;
    private readonly delegate* unmanaged<int, byte**, int> _getErrorString;

    private NativeCudaDriver(nint library)
    {
        _init = (delegate* unmanaged<uint, int>)Find(library, "cuInit");
        _driverGetVersion = (delegate* unmanaged<int*, int>)Find(library, "cuDriverGetVersion");
        _deviceGetCount = (delegate* unmanaged<int*, int>)Find(library, "cuDeviceGetCount");
        _deviceGet = (delegate* unmanaged<int*, int, int>)Find(library, "cuDeviceGet");
        _deviceGetName = (delegate* unmanaged<byte*, int, int, int>)Find(library, "cuDeviceGetName");
        _deviceGetAttribute = (delegate* unmanaged<int*, int, int, int>)Find(library, "cuDeviceGetAttribute");
        _deviceGetDefaultMemPool = (delegate* unmanaged<nint*, int, int>)Find(library, "cuDeviceGetDefaultMemPool");
        _memPoolSetAttribute = (delegate* unmanaged<nint, int, void*, int>)Find(library, "cuMemPoolSetAttribute");
        _memPoolGetAttribute = (delegate* unmanaged<nint, int, void*, int>)Find(library, "cuMemPoolGetAttribute");
        _devicePrimaryCtxRetain = (delegate* unmanaged<nint*, int, int>)Find(library, "cuDevicePrimaryCtxRetain");
        _ctxSetCurrent = (delegate* unmanaged<nint, int>)Find(library, "cuCtxSetCurrent");
        _memGetInfo = (delegate* unmanaged<nuint*, nuint*, int>)Find(library, "cuMemGetInfo_v2");
        _memAllocAsync = (delegate* unmanaged<nint*, nuint, nint, int>)Find(library, "cuMemAllocAsync");
        _memFreeAsync = (delegate* unmanaged<nint, nint, int>)Find(library, "cuMemFreeAsync");
        _memAllocHost = (delegate* unmanaged<void**, nuint, int>)Find(library, "cuMemAllocHost_v2");
        _memFreeHost = (delegate* unmanaged<void*, int>)Find(library, "cuMemFreeHost");
        _memcpyHtoDAsync = (delegate* unmanaged<nint, void*, nuint, nint, int>)Find(library, "cuMemcpyHtoDAsync_v2");
        _memcpyDtoHAsync = (delegate* unmanaged<void*, nint, nuint, nint, int>)Find(library, "cuMemcpyDtoHAsync_v2");
        _memcpyDtoDAsync = (delegate* unmanaged<nint, nint, nuint, nint, int>)Find(library, "cuMemcpyDtoDAsync_v2");
        _memsetD8Async = (delegate* unmanaged<nint, byte, nuint, nint, int>)Find(library, "cuMemsetD8Async");
        _streamCreate = (delegate* unmanaged<nint*, uint, int>)Find(library, "cuStreamCreate");
        _streamDestroy = (delegate* unmanaged<nint, int>)Find(library, "cuStreamDestroy_v2");
        _streamSynchronize = (delegate* unmanaged<nint, int>)Find(library, "cuStreamSynchronize");
        _streamBeginCapture = (delegate* unmanaged<nint, int, int>)Find(library, "cuStreamBeginCapture_v2");
        _streamEndCapture = (delegate* unmanaged<nint, nint*, int>)Find(library, "cuStreamEndCapture");
        _graphInstantiate = (delegate* unmanaged<nint*, nint, ulong, int>)Find(library, "cuGraphInstantiateWithFlags");
        _graphLaunch = (delegate* unmanaged<nint, nint, int>)Find(library, "cuGraphLaunch");
        _graphExecDestroy = (delegate* unmanaged<nint, int>)Find(library, "cuGraphExecDestroy");
        _graphDestroy = (delegate* unmanaged<nint, int>)Find(library, "cuGraphDestroy");
        _eventCreate = (delegate* unmanaged<nint*, uint, int>)Find(library, "cuEventCreate");
        _eventDestroy = (delegate* unmanaged<nint, int>)Find(library, "cuEventDestroy_v2");
        _eventRecord = (delegate* unmanaged<nint, nint, int>)Find(library, "cuEventRecord");
        _eventSynchronize = (delegate* unmanaged<nint, int>)Find(library, "cuEventSynchronize");
        _eventElapsedTime = (delegate* unmanaged<float*, nint, nint, int>)Find(library, "cuEventElapsedTime");
        _moduleLoadDataEx = (delegate* unmanaged<nint*, byte*, uint, int*, void**, int>)Find(library, "cuModuleLoadDataEx");
        _moduleGetFunction = (delegate* unmanaged<nint*, nint, byte*, int>)Find(library, "cuModuleGetFunction");
        _funcGetAttribute = (delegate* unmanaged<int*, int, nint, int>)Find(library, "cuFuncGetAttribute");
        _funcSetAttribute = (delegate* unmanaged<nint, int, int, int>)Find(library, "cuFuncSetAttribute");
        _launchKernel = (delegate* unmanaged<nint, uint, uint, uint, uint, uint, uint, uint, nint, void**, void**, int>)Find(library, "cuLaunchKernel");
        // Drivers before CUDA 12.0 lack it; they are good for all cards before Hopper.
        if (NativeLibrary.TryGetExport(library, "cuTensorMapEncodeTiled", out nint encode))
            _tensorMapEncodeTiled = (delegate* unmanaged<void*, int, uint, void*, ulong*, ulong*, uint*, uint*, int, int, int, int, int>)encode;
        _getErrorName = (delegate* unmanaged<int, byte**, int>)Find(library, "cuGetErrorName");
        _getErrorString = (delegate* unmanaged<int, byte**, int>)Find(library, "cuGetErrorString");
    }

    /// <summary>Whether there is a driver at all, usable or not.</summary>
    public static bool IsInstalled() => Array.Exists(Names, name => NativeLibrary.TryLoad(name, out _));

    /// <summary>The driver, loaded once.</summary>
    /// <exception cref="DeviceException">There is none, or it is too old: the message says what was looked for.</exception>
    public static NativeCudaDriver Load()
    {
        lock (Gate)
        {
            if (s_loaded is not null) return s_loaded;
            foreach (string name in Names)
                if (NativeLibrary.TryLoad(name, out nint library)) return s_loaded = new NativeCudaDriver(library);
            throw new DeviceException($"CUDA: no driver; the system's loader has none of {string.Join(", ", Names)}; install the NVIDIA driver or use cpu.");
        }
    }

    public int Init(uint flags) => _init(flags);

    public int DriverGetVersion(int* version) => _driverGetVersion(version);

    public int DeviceGetCount(int* count) => _deviceGetCount(count);

    public int DeviceGet(int* device, int ordinal) => _deviceGet(device, ordinal);

    public int DeviceGetName(byte* name, int length, int device) => _deviceGetName(name, length, device);

    public int DeviceGetAttribute(int* value, int attribute, int device) => _deviceGetAttribute(value, attribute, device);

    public int DeviceGetDefaultMemPool(nint* pool, int device) => _deviceGetDefaultMemPool(pool, device);

    public int MemPoolSetAttribute(nint pool, int attribute, void* value) => _memPoolSetAttribute(pool, attribute, value);

    public int MemPoolGetAttribute(nint pool, int attribute, void* value) => _memPoolGetAttribute(pool, attribute, value);

    public int DevicePrimaryCtxRetain(nint* context, int device) => _devicePrimaryCtxRetain(context, device);

    public int CtxSetCurrent(nint context) => _ctxSetCurrent(context);

    public int MemGetInfo(nuint* free, nuint* total) => _memGetInfo(free, total);

    public int MemAllocAsync(nint* address, nuint bytes, nint stream) => _memAllocAsync(address, bytes, stream);

    public int MemFreeAsync(nint address, nint stream) => _memFreeAsync(address, stream);

    public int MemAllocHost(void** address, nuint bytes) => _memAllocHost(address, bytes);

    public int MemFreeHost(void* address) => _memFreeHost(address);

    public int MemcpyHtoDAsync(nint target, void* source, nuint bytes, nint stream) => _memcpyHtoDAsync(target, source, bytes, stream);

    public int MemcpyDtoHAsync(void* target, nint source, nuint bytes, nint stream) => _memcpyDtoHAsync(target, source, bytes, stream);

    public int MemcpyDtoDAsync(nint target, nint source, nuint bytes, nint stream) => _memcpyDtoDAsync(target, source, bytes, stream);

    public int MemsetD8Async(nint target, byte value, nuint bytes, nint stream) => _memsetD8Async(target, value, bytes, stream);

    public int StreamCreate(nint* stream, uint flags) => _streamCreate(stream, flags);

    public int StreamDestroy(nint stream) => _streamDestroy(stream);

    public int StreamSynchronize(nint stream) => _streamSynchronize(stream);

    public int StreamBeginCapture(nint stream, int mode) => _streamBeginCapture(stream, mode);

    public int StreamEndCapture(nint stream, nint* graph) => _streamEndCapture(stream, graph);

    public int GraphInstantiate(nint* executable, nint graph, ulong flags) => _graphInstantiate(executable, graph, flags);

    public int GraphLaunch(nint executable, nint stream) => _graphLaunch(executable, stream);

    public int GraphExecDestroy(nint executable) => _graphExecDestroy(executable);

    public int GraphDestroy(nint graph) => _graphDestroy(graph);

    public int EventCreate(nint* handle, uint flags) => _eventCreate(handle, flags);

    public int EventDestroy(nint handle) => _eventDestroy(handle);

    public int EventRecord(nint handle, nint stream) => _eventRecord(handle, stream);

    public int EventSynchronize(nint handle) => _eventSynchronize(handle);

    public int EventElapsedTime(float* milliseconds, nint start, nint end) => _eventElapsedTime(milliseconds, start, end);

    public int ModuleLoadDataEx(nint* module, byte* image, uint options, int* names, void** values) => _moduleLoadDataEx(module, image, options, names, values);

    public int ModuleGetFunction(nint* function, nint module, byte* name) => _moduleGetFunction(function, module, name);

    public int FuncGetAttribute(int* value, int attribute, nint function) => _funcGetAttribute(value, attribute, function);

    public int FuncSetAttribute(nint function, int attribute, int value) => _funcSetAttribute(function, attribute, value);

    public int LaunchKernel(nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** arguments, void** extra) => _launchKernel(function, gridX, gridY, gridZ, blockX, blockY, blockZ, sharedBytes, stream, arguments, extra);

    public bool HasTensorMaps => _tensorMapEncodeTiled != null;

    public int TensorMapEncodeTiled(
        void* map, int type, uint rank, void* address, ulong* sizes, ulong* strides, uint* box, uint* steps, int interleave, int swizzle, int promotion, int fill) =>
        _tensorMapEncodeTiled(map, type, rank, address, sizes, strides, box, steps, interleave, swizzle, promotion, fill);

    public int GetErrorName(int error, byte** name) => _getErrorName(error, name);

    public int GetErrorString(int error, byte** text) => _getErrorString(error, text);

    private static nint Find(nint library, string name) => NativeLibrary.TryGetExport(library, name, out nint address)
        ? address : throw new DeviceException($"CUDA: the driver is too old, it lacks {name}; install one for CUDA 11.4 or later.");
}
