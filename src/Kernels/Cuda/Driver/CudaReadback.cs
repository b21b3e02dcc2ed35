namespace Bellman.Kernels.Cuda.Driver;

/// <summary>Copies to page-locked memory, with a mark in the stream behind each.</summary>
internal sealed unsafe class CudaReadback(CudaDevice device, CudaContext context, long bytes) : Readback
{
    private readonly CudaHostMemory _memory = new(context, bytes);
    private readonly CudaEvent _done = new(context);
    private Tensor _source;
    private bool _isPending;

    public override void Start(Tensor source)
    {
        HostReadback.Fits(source, device, bytes);
        device.CopyToHost(source, (void*)_memory.Handle);
        _done.Record(device.Stream);
        (_source, _isPending) = (source, true);
    }

    public override ReadOnlySpan<T> Wait<T>()
    {
        Finish();
        return new ReadOnlySpan<T>((void*)_memory.Handle, (int)_source.Length);
    }

    public override void Dispose()
    {
        // The card may still be writing there. Its errors are for who asks for results.
        if (_isPending && context.TryEnter()) context.Api.Raw.EventSynchronize(_done.Handle);
        _isPending = false;
        _done.Dispose();
        _memory.Dispose();
    }

    private void Finish()
    {
        if (_isPending) _done.Wait();
        _isPending = false;
    }
}
