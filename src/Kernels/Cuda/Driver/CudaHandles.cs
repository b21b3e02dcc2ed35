namespace Bellman.Kernels.Cuda.Driver;

/// <summary>
/// Something that the driver made and that is given back once: at the end of its scope, or by the collector when forgotten. It
/// keeps its context alive.
/// </summary>
internal abstract class CudaHandle : IDisposable
{
    private nint _handle;

    protected CudaHandle(CudaContext context) => Context = context;

    ~CudaHandle() => Give();

    public CudaContext Context { get; }

    /// <summary>The driver's handle.</summary>
    /// <exception cref="ObjectDisposedException">It was given back.</exception>
    public nint Handle
    {
        get => _handle != 0 ? _handle : throw new ObjectDisposedException(GetType().Name);
        protected set => _handle = value;
    }

    /// <summary>The handle, or 0 once it was given back: finalisers run in any order.</summary>
    public nint HandleOrZero => _handle;

    public void Dispose()
    {
        Give();
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives the handle back; the context is current, and errors are ignored: the process may be ending.</summary>
    protected abstract void Release(nint handle);

    private void Give()
    {
        nint handle = Interlocked.Exchange(ref _handle, 0);
        if (handle == 0) return;
        if (Context.TryEnter()) Release(handle);
    }
}

/// <summary>The primary context of a card, shared with other libraries in the process and kept until it ends.</summary>
internal sealed unsafe class CudaContext
{
    [ThreadStatic] private static nint s_current;

    public CudaContext(CudaApi api, int device)
    {
        Api = api;
        nint context = 0;
        api.Check(api.Raw.DevicePrimaryCtxRetain(&context, device));
        Handle = context;
        s_current = 0;
        Enter();
    }

    public CudaApi Api { get; }

    public nint Handle { get; }

    /// <summary>Makes the context the calling thread's.</summary>
    public void Enter()
    {
        if (s_current == Handle) return;
        Api.Check(Api.Raw.CtxSetCurrent(Handle));
        s_current = Handle;
    }

    /// <summary>As <see cref="Enter"/>, but tells by its result instead of throwing: for what runs while objects are freed.</summary>
    public bool TryEnter()
    {
        if (s_current != Handle && Api.Raw.CtxSetCurrent(Handle) != 0) return false;
        s_current = Handle;
        return true;
    }
}

/// <summary>A queue of work in order.</summary>
internal sealed unsafe class CudaStream : CudaHandle
{
    private const uint NonBlocking = 1;
    private const int ThreadLocalCapture = 1;

    public CudaStream(CudaContext context) : base(context)
    {
        nint handle = 0;
        context.Api.Check(context.Api.Raw.StreamCreate(&handle, NonBlocking));
        Handle = handle;
    }

    /// <summary>Waits for everything queued; errors of earlier kernels appear here.</summary>
    public void Synchronize(string doing = "")
    {
        Context.Enter();
        Context.Api.Check(Context.Api.Raw.StreamSynchronize(Handle), doing);
    }

    /// <summary>Records what an action queues instead of running it.</summary>
    public CudaGraph Capture(Action queue)
    {
        Context.Enter();
        Context.Api.Check(Context.Api.Raw.StreamBeginCapture(Handle, ThreadLocalCapture));
        nint graph = 0;
        try
        {
            queue();
        }
        catch
        {
            // The capture is ended whatever happened, or the stream stays useless.
            if (Context.Api.Raw.StreamEndCapture(Handle, &graph) == 0 && graph != 0) Context.Api.Raw.GraphDestroy(graph);
            throw;
        }
        Context.Api.Check(Context.Api.Raw.StreamEndCapture(Handle, &graph));
        return new CudaGraph(Context, graph);
    }

    protected override void Release(nint handle) => Context.Api.Raw.StreamDestroy(handle);
}

/// <summary>Recorded work that one call starts.</summary>
internal sealed unsafe class CudaGraph : CudaHandle
{
    public CudaGraph(CudaContext context, nint graph) : base(context)
    {
        nint executable = 0;
        int result = context.Api.Raw.GraphInstantiate(&executable, graph, 0);
        context.Api.Raw.GraphDestroy(graph);
        context.Api.Check(result, call: "Raw.GraphInstantiate()");
        Handle = executable;
    }

    public void Launch(CudaStream stream)
    {
        Context.Enter();
        Context.Api.Check(Context.Api.Raw.GraphLaunch(Handle, stream.Handle));
    }

    protected override void Release(nint handle) => Context.Api.Raw.GraphExecDestroy(handle);
}

/// <summary>A mark in a stream that can be timed.</summary>
internal sealed unsafe class CudaEvent : CudaHandle
{
    public CudaEvent(CudaContext context) : base(context)
    {
        nint handle = 0;
        context.Api.Check(context.Api.Raw.EventCreate(&handle, 0));
        Handle = handle;
    }

    public void Record(CudaStream stream)
    {
        Context.Enter();
        Context.Api.Check(Context.Api.Raw.EventRecord(Handle, stream.Handle));
    }

    /// <summary>Waits for what was queued before this; errors of earlier kernels appear here.</summary>
    public void Wait()
    {
        Context.Enter();
        Context.Api.Check(Context.Api.Raw.EventSynchronize(Handle), "readback");
    }

    /// <summary>Milliseconds from an earlier event to this one; waits for this one.</summary>
    public float Since(CudaEvent start)
    {
        Context.Enter();
        float milliseconds = 0;
        Context.Api.Check(Context.Api.Raw.EventSynchronize(Handle));
        Context.Api.Check(Context.Api.Raw.EventElapsedTime(&milliseconds, start.Handle, Handle));
        return milliseconds;
    }

    protected override void Release(nint handle) => Context.Api.Raw.EventDestroy(handle);
}

/// <summary>Host memory that the card copies to by itself: copies to other memory make the host wait.</summary>
internal sealed unsafe class CudaHostMemory : CudaHandle
{
    public CudaHostMemory(CudaContext context, long bytes) : base(context)
    {
        void* address = null;
        context.Enter();
        context.Api.Check(context.Api.Raw.MemAllocHost(&address, (nuint)Math.Max(1, bytes)), $"{bytes} bytes of page-locked host memory");
        Handle = (nint)address;
    }

    protected override void Release(nint handle) => Context.Api.Raw.MemFreeHost((void*)handle);
}
