namespace Bellman.Kernels.Cuda.Driver;

/// <summary>
/// The functions of the CUDA driver that Bellman calls, each with its own name and result code (0 for success). Tests put a
/// fake in its place. Meanings and numbers are those of cuda.h, CUDA 11.4 and later.
/// </summary>
internal unsafe interface ICudaDriver
{
    int Init(uint flags);
    int DriverGetVersion(int* version);
    int DeviceGetCount(int* count);
    int DeviceGet(int* device, int ordinal);
    int DeviceGetName(byte* name, int length, int device);
    int DeviceGetAttribute(int* value, int attribute, int device);
    int DeviceGetDefaultMemPool(nint* pool, int device);
    int MemPoolSetAttribute(nint pool, int attribute, void* value);
    int MemPoolGetAttribute(nint pool, int attribute, void* value);
    int DevicePrimaryCtxRetain(nint* context, int device);
    int CtxSetCurrent(nint context);
    int MemGetInfo(nuint* free, nuint* total);
    int MemAllocAsync(nint* address, nuint bytes, nint stream);
    int MemFreeAsync(nint address, nint stream);
    int MemAllocHost(void** address, nuint bytes);
    int MemFreeHost(void* address);
    int MemcpyHtoDAsync(nint target, void* source, nuint bytes, nint stream);
    int MemcpyDtoHAsync(void* target, nint source, nuint bytes, nint stream);
    int MemcpyDtoDAsync(nint target, nint source, nuint bytes, nint stream);
    int MemsetD8Async(nint target, byte value, nuint bytes, nint stream);
    int StreamCreate(nint* stream, uint flags);
    int StreamDestroy(nint stream);
    int StreamSynchronize(nint stream);
    int StreamBeginCapture(nint stream, int mode);
    int StreamEndCapture(nint stream, nint* graph);
    int GraphInstantiate(nint* executable, nint graph, ulong flags);
    int GraphLaunch(nint executable, nint stream);
    int GraphExecDestroy(nint executable);
    int GraphDestroy(nint graph);
    int EventCreate(nint* handle, uint flags);
    int EventDestroy(nint handle);
    int EventRecord(nint handle, nint stream);
    int EventSynchronize(nint handle);
    int EventElapsedTime(float* milliseconds, nint start, nint end);
    int ModuleLoadDataEx(nint* module, byte* image, uint options, int* names, void** values);
    int ModuleGetFunction(nint* function, nint module, byte* name);
    int FuncGetAttribute(int* value, int attribute, nint function);
    int FuncSetAttribute(nint function, int attribute, int value);
    int LaunchKernel(nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** arguments, void** extra);
    /// <summary>Whether the driver has <see cref="TensorMapEncodeTiled"/>: from CUDA 12.0 on.</summary>
    bool HasTensorMaps { get; }

    int TensorMapEncodeTiled(
        void* map, int type, uint rank, void* address, ulong* sizes, ulong* strides, uint* box, uint* steps, int interleave, int swizzle, int promotion, int fill);
    int GetErrorName(int error, byte** name);
    int GetErrorString(int error, byte** text);
}
