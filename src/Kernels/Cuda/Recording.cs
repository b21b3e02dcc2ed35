namespace Bellman.Kernels.Cuda;

/// <summary>A step that a device can start as a whole; made by <see cref="KernelDevice.Record"/>.</summary>
internal abstract class Recording(IReadOnlyCollection<Storage> memory) : IDisposable
{
    private readonly Storage[] _memory = [.. memory];

    /// <summary>False once some of the memory that the step's tensors lie in was freed.</summary>
    public bool IsValid
    {
        get
        {
            foreach (Storage storage in _memory)
                if (storage.Address == 0) return false;
            return true;
        }
    }

    /// <summary>Runs the step.</summary>
    public abstract void Replay();

    public abstract void Dispose();
}
