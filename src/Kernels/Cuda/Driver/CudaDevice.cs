using System.Runtime.InteropServices;
using System.Text;
using Bellman.Kernels.Cuda.Libraries;
using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda.Driver;

/// <summary>Who computes the products of linear layers.</summary>
internal enum ProductChoice
{
    /// <summary>The library, but where the ledger shows own kernels to be no slower.</summary>
    ByLedger,

    /// <summary>Own kernels.</summary>
    Own,

    /// <summary>The library, where it is found and can.</summary>
    Library,
}

/// <summary>
/// A card. Memory comes from the driver's stream-ordered pool, kernels and copies go through one stream in order; only
/// downloads wait, and readbacks when they are asked. One thread at a time.
/// </summary>
internal sealed unsafe class CudaDevice : KernelDevice
{
    private const int LowestCapability = 80, LowestDriver = 11040;
    private const int CapabilityMajor = 75, CapabilityMinor = 76, MemoryPools = 115, ReleaseThreshold = 4, PoolReserved = 5, PoolUsed = 7, MultiprocessorCount = 16;
    private const int Hopper = 90, VersionOfTensorMaps = 12000, MapBytes = 128, MapAlignment = 64;
    private static readonly Dictionary<int, CudaDevice> Cards = [];
    private readonly CudaApi _api;
    private readonly CudaContext _context;
    private readonly CudaModules _modules;
    // By address, not by storage: a storage that is forgotten must stay free to be collected.
    private readonly Dictionary<nint, (string Purpose, long Bytes)> _live = [];
    private readonly List<nint> _freedWhileCapturing = [];
    private bool _isCapturing;
    private readonly int _device, _version;
    private readonly nint _pool;

    private readonly Func<ICublasLt?> _findLibrary;
    private CublasLt? _library;
    private HashSet<string> _ownProducts = [];
    private string? _libraryNote;

    public CudaDevice(ICudaDriver driver, int ordinal, Func<ICublasLt?>? findLibrary = null)
    {
        _findLibrary = findLibrary ?? (() => null);
        _api = new CudaApi(driver);
        int version = 0, count = 0, device = 0;
        _api.Check(driver.Init(0));
        _api.Check(driver.DriverGetVersion(&version));
        if (version < LowestDriver)
            throw new DeviceException($"CUDA: the driver is for CUDA {Version(version)}, {Version(LowestDriver)} or later is needed; update the NVIDIA driver or use cpu.");
        _api.Check(driver.DeviceGetCount(&count));
        if (ordinal < 0 || ordinal >= count) throw new DeviceException($"CUDA: device {ordinal} was asked for, the driver has {count}, numbered from 0; use one of them or cpu.");
        _api.Check(driver.DeviceGet(&device, ordinal));
        (_device, _version, DriverVersion, Card) = (device, version, Version(version), ReadName(device));
        Capability = 10 * _api.Attribute(CapabilityMajor, device) + _api.Attribute(CapabilityMinor, device);
        if (Capability < LowestCapability)
            throw new DeviceException($"CUDA: {Card} has compute capability {Capability / 10}.{Capability % 10}, {LowestCapability / 10}.0 (Ampere) or later is needed; use cpu.");
        if (_api.Attribute(MemoryPools, device) == 0) throw new DeviceException($"CUDA: {Card} has no memory pools here; update the NVIDIA driver or use cpu.");
        Name = $"cuda:{ordinal}";
        _context = new CudaContext(_api, device);
        Stream = new CudaStream(_context);
        _modules = new CudaModules(_context);
        _pool = KeepFreedMemory(device);
        Multiprocessors = _api.Attribute(MultiprocessorCount, device);
    }

    /// <summary>The device of a card, one in the process: tensors of two devices do not mix.</summary>
    public static CudaDevice Of(int ordinal)
    {
        lock (Cards)
        {
            if (!Cards.TryGetValue(ordinal, out CudaDevice? device)) Cards[ordinal] = device = new CudaDevice(NativeCudaDriver.Load(), ordinal, NativeCublasLt.Find);
            return device;
        }
    }

    public override string Name { get; }

    public override string Description => $"{Name} ({Card}, compute capability {Capability / 10}.{Capability % 10})";

    public override bool RecordsSteps => true;

    /// <summary>The card's name.</summary>
    public string Card { get; }

    /// <summary>Compute capability times ten, such as 90 for Hopper.</summary>
    public int Capability { get; }

    /// <summary>The newest CUDA that the driver knows, such as "12.4".</summary>
    public string DriverVersion { get; }

    /// <summary>Called before each launch; what it returns is called after. For measuring.</summary>
    public Func<Kernel, Action>? Around { get; set; }

    // Code for Hopper's units runs on Hopper alone, not on what came after.
    public override bool HasWarpGroups => Capability == Hopper && _version >= VersionOfTensorMaps && _api.Raw.HasTensorMaps;

    public override int Multiprocessors { get; }

    /// <summary>Who computes products; the suite for cards measures both.</summary>
    public ProductChoice Products { get; set; }

    /// <summary>Which library for products was found, or why none is used; looks for it first.</summary>
    public string LibraryNote => _libraryNote ?? FindLibrary();

    /// <summary>Where everything is queued.</summary>
    public CudaStream Stream { get; }

    /// <summary>What was loaded so far.</summary>
    public IReadOnlyList<KernelFacts> Loaded => _modules.Facts;

    /// <summary>An attribute of the card, by the driver's number.</summary>
    public int Attribute(int attribute) => _api.Attribute(attribute, _device);

    /// <summary>Assembles a kernel, if it is not yet, and tells what became of it.</summary>
    public KernelFacts Load(Kernel kernel)
    {
        _context.Enter();
        _modules.Function(kernel);
        return _modules.Facts.First(x => x.PtxHash == kernel.PtxHash);
    }

    /// <summary>Copies between tensors of this card of one size.</summary>
    public void Copy(Tensor from, Tensor to)
    {
        if (from.Bytes != to.Bytes || from.Device != this || to.Device != this) throw new ShapeException($"Tensor: {from} copied to {to} on {Name}.");
        _context.Enter();
        _api.Check(_api.Raw.MemcpyDtoDAsync((nint)to.Address, (nint)from.Address, (nuint)from.Bytes, Stream.Handle));
    }

    public override DeviceMemory? Memory
    {
        get
        {
            nuint free = 0, total = 0;
            _context.Enter();
            _api.Check(_api.Raw.MemGetInfo(&free, &total));
            // What was freed stays in the pool, and is there to be had again.
            ulong reserved = 0, used = 0;
            _api.Check(_api.Raw.MemPoolGetAttribute(_pool, PoolReserved, &reserved));
            _api.Check(_api.Raw.MemPoolGetAttribute(_pool, PoolUsed, &used));
            return new DeviceMemory((long)free + (long)(reserved - used), (long)total);
        }
    }

    public override void Wait()
    {
        RequireNotRecording("waited");
        _context.Enter();
        Stream.Synchronize();
    }

    public override Storage Allocate(long bytes)
    {
        RequireNotRecording($"allocated {bytes} bytes");
        _context.Enter();
        nint address = 0;
        nuint size = (nuint)Math.Max(256, bytes);
        int result = _api.Raw.MemAllocAsync(&address, size, Stream.Handle);
        if (result == CudaApi.OutOfMemory)
        {
            // Storages that were forgotten are freed by the collector; give it a chance, once.
            GC.Collect();
            GC.WaitForPendingFinalizers();
            Stream.Synchronize();
            result = _api.Raw.MemAllocAsync(&address, size, Stream.Handle);
        }
        if (result == CudaApi.OutOfMemory) throw Full(bytes);
        _api.Check(result, $"{bytes} bytes for {CurrentPurpose}", "Raw.MemAllocAsync()");
        lock (_live) _live[address] = (CurrentPurpose, bytes);
        _api.Check(_api.Raw.MemsetD8Async(address, 0, size, Stream.Handle));
        return new CudaStorage(this, bytes, address);
    }

    public override void Upload<T>(ReadOnlySpan<T> source, Tensor target)
    {
        Require<T>(target, source.Length);
        if (source.IsEmpty) return;
        RequireNotRecording($"copied host memory to {target}");
        _context.Enter();
        // From pageable memory the driver has copied the data aside before it returns.
        fixed (T* data = source) _api.Check(_api.Raw.MemcpyHtoDAsync((nint)target.Address, data, (nuint)target.Bytes, Stream.Handle));
    }

    public override void Download<T>(Tensor source, Span<T> target)
    {
        Require<T>(source, target.Length);
        if (target.IsEmpty) return;
        RequireNotRecording($"waited for {source}");
        _context.Enter();
        fixed (T* data = target)
        {
            _api.Check(_api.Raw.MemcpyDtoHAsync(data, (nint)source.Address, (nuint)source.Bytes, Stream.Handle));
            Stream.Synchronize("download");
        }
    }

    public override Readback CreateReadback(long bytes) => new CudaReadback(this, _context, bytes);

    /// <summary>Queues a copy to page-locked host memory.</summary>
    internal void CopyToHost(Tensor source, void* target)
    {
        RequireNotRecording($"copied {source} to the host");
        _context.Enter();
        _api.Check(_api.Raw.MemcpyDtoHAsync(target, (nint)source.Address, (nuint)source.Bytes, Stream.Handle));
    }

    public override void Clear(Tensor tensor)
    {
        if (tensor.Length == 0) return;
        Note(tensor);
        _context.Enter();
        _api.Check(_api.Raw.MemsetD8Async((nint)tensor.Address, 0, (nuint)tensor.Bytes, Stream.Handle));
    }

    public override void Launch(Kernel kernel, Grid grid, ReadOnlySpan<KernelArgument> arguments)
    {
        if (grid.Blocks == 0) return;
        if (arguments.Length != kernel.Parameters.Length)
            throw new DeviceException($"CUDA: kernel {kernel.Name} takes {kernel.Parameters.Length} arguments, received {arguments.Length}.");
        _context.Enter();
        nint function = _modules.Function(kernel);
        ulong* bits = stackalloc ulong[arguments.Length];
        void** pointers = stackalloc void*[arguments.Length];
        byte* maps = stackalloc byte[MapBytes * arguments.Length + MapAlignment];
        maps += MapAlignment - (int)((nint)maps % MapAlignment);
        for (int i = 0; i < arguments.Length; i++)
        {
            if (arguments[i].Misfit(kernel.Parameters[i]) is string misfit) throw new DeviceException($"CUDA: kernel {kernel.Name}: {misfit}.");
            if (!arguments[i].Tensor.IsEmpty && arguments[i].Tensor.Device != this)
                throw new DeviceException($"CUDA: kernel {kernel.Name}: argument {kernel.Parameters[i].Name} is on {arguments[i].Tensor.Device.Name}; copy it to {Name} first.");
            bits[i] = arguments[i].Type == RegisterType.B64 ? (ulong)arguments[i].Tensor.Address : arguments[i].Bits;
            pointers[i] = &bits[i];
            if (arguments[i].IsMap) Encode(arguments[i], kernel.Parameters[i], pointers[i] = maps + MapBytes * i);
            Note(arguments[i].Tensor);
        }
        Action? after = Around?.Invoke(kernel);
        int result = _api.Raw.LaunchKernel(
            function, (uint)grid.X, (uint)grid.Y, (uint)grid.Z, (uint)kernel.Threads, 1, 1, (uint)kernel.SharedBytes, Stream.Handle, pointers, null);
        if (result != 0) _api.Check(result, $"{kernel.Name} on {grid.X}×{grid.Y}×{grid.Z} blocks", "Raw.LaunchKernel()");
        after?.Invoke();
    }

    // How the tensor memory accelerator is told of a matrix; see cuda.h, cuTensorMapEncodeTiled.
    private void Encode(in KernelArgument argument, KernelParameter parameter, void* map)
    {
        const int Bf16 = 9, NoInterleave = 0, Swizzle128 = 3, Promote256 = 3, FillZero = 0;
        ulong* sizes = stackalloc ulong[] { (ulong)argument.MappedColumns, (ulong)argument.MappedRows };
        ulong stride = (ulong)argument.Tensor.Columns * sizeof(ushort);
        uint* box = stackalloc uint[] { TensorBox.Columns, (uint)parameter.Box!.Value.Rows };
        uint* steps = stackalloc uint[] { 1, 1 };
        _api.Check(
            _api.Raw.TensorMapEncodeTiled(map, Bf16, 2, (void*)argument.Tensor.Address, sizes, &stride, box, steps, NoInterleave, Swizzle128, Promote256, FillZero),
            $"{parameter.Name}, {argument.Tensor}", "Raw.TensorMapEncodeTiled()");
    }

    public override bool TryLibraryProduct(in Product product, string ownKernel)
    {
        // Own kernels fill up an odd row; the library does not.
        if (Products == ProductChoice.Own || product.C.Rows < ProductRule.FewestRows || product.Columns % 2 != 0) return false;
        if (_libraryNote is null) FindLibrary();
        if (_library is null || (Products == ProductChoice.ByLedger && _ownProducts.Contains(ownKernel))) return false;
        _context.Enter();
        return _library.TryMultiply(product, Scratch("cuBLASLt workspace", CublasLt.WorkspaceBytes), Stream.Handle);
    }

    private string FindLibrary()
    {
        _context.Enter();
        _libraryNote = "cuBLASLt was not found; own kernels compute all products";
        if (_findLibrary() is not { } library) return _libraryNote;
        _library = CublasLt.Open(library, out _libraryNote);
        if (_library is not null) _ownProducts = ProductRule.OwnKernels(ProductRule.BuiltInLedger(), Card);
        return _libraryNote;
    }

    /// <summary>Gives memory back once the work queued before is done. Called by finalisers too: it never throws.</summary>
    internal void Free(nint address)
    {
        lock (_live)
        {
            _live.Remove(address);
            // What is queued now would become part of the recorded step, and finalisers come at any time.
            if (_isCapturing) _freedWhileCapturing.Add(address);
            else Give(address);
        }
    }

    protected override Recording Capture(Action step, IReadOnlyCollection<Storage> memory)
    {
        lock (_live) _isCapturing = true;
        try
        {
            return new RecordedGraph(Stream.Capture(step), Stream, memory);
        }
        finally
        {
            lock (_live)
            {
                _isCapturing = false;
                foreach (nint address in _freedWhileCapturing) Give(address);
                _freedWhileCapturing.Clear();
            }
        }
    }

    // The device itself may be gone already, with its stream; the default stream is always there.
    private void Give(nint address)
    {
        if (_context.TryEnter()) _api.Raw.MemFreeAsync(address, Stream.HandleOrZero);
    }

    private void Require<T>(Tensor tensor, int length) where T : unmanaged
    {
        if (tensor.Type != DTypes.Of<T>() || tensor.Length != length)
            throw new ShapeException($"Tensor: {tensor} copied from or to {length} elements of {typeof(T).Name}.");
        if (tensor.Length > 0 && tensor.Address == 0) throw new DeviceException($"Tensor: {tensor} on {Name} was freed.");
    }

    private DeviceException Full(long bytes)
    {
        nuint free = 0, total = 0;
        _api.Raw.MemGetInfo(&free, &total);
        var holders = new SortedDictionary<string, long>(StringComparer.Ordinal);
        lock (_live)
            foreach ((string purpose, long size) in _live.Values) holders[purpose] = holders.GetValueOrDefault(purpose) + size;
        string held = holders.Count == 0 ? "this process holds nothing" : string.Join(", ", holders.OrderByDescending(x => x.Value).Take(5).Select(x => $"{x.Key} {MiB(x.Value)}"));
        return new DeviceException(
            $"Memory: {MiB(bytes)} for {CurrentPurpose} could not be allocated on {Name} ({Card}): {MiB((long)free)} of {MiB((long)total)} are free; held: {held}; "
            + "use a smaller batch, shorter sequences or a smaller model.");
    }

    private static string MiB(long bytes) => $"{bytes / 1048576.0:F0} MiB";

    private static string Version(int version) => $"{version / 1000}.{version % 1000 / 10}";

    private string ReadName(int device)
    {
        byte* name = stackalloc byte[256];
        _api.Check(_api.Raw.DeviceGetName(name, 256, device));
        return Encoding.UTF8.GetString(MemoryMarshal.CreateReadOnlySpanFromNullTerminated(name));
    }

    // By default the pool gives memory back at every wait, and the next step pays for it again.
    private nint KeepFreedMemory(int device)
    {
        nint pool = 0;
        ulong everything = ulong.MaxValue;
        _api.Check(_api.Raw.DeviceGetDefaultMemPool(&pool, device));
        _api.Check(_api.Raw.MemPoolSetAttribute(pool, ReleaseThreshold, &everything));
        return pool;
    }
}

/// <summary>A step as a graph.</summary>
internal sealed class RecordedGraph(CudaGraph graph, CudaStream stream, IReadOnlyCollection<Storage> memory) : Recording(memory)
{
    public override void Replay() => graph.Launch(stream);

    public override void Dispose() => graph.Dispose();
}

/// <summary>Device memory, freed in the stream's order.</summary>
internal sealed class CudaStorage(CudaDevice device, long bytes, nint address) : Storage(device, bytes)
{
    private nint _address = address;

    ~CudaStorage() => Free();

    internal override nint Address => _address;

    public override void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        nint address = Interlocked.Exchange(ref _address, 0);
        if (address != 0) device.Free(address);
    }
}
