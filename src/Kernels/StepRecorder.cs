using Bellman.Kernels.Cuda;

namespace Bellman.Kernels;

/// <summary>
/// Runs steps of fixed shapes again and again. On a card the first run of a shape is an ordinary one, in which kernels are
/// assembled and scratch memory grows; the second is recorded, and from then on one call starts the whole step. Elsewhere every
/// run is an ordinary one.
/// <para>
/// A step that runs again does so with the same tensors and the same numbers as when it was recorded: what changes from run to
/// run is uploaded to the same place before it, and what it leaves is read after it. So a step must not wait for the device,
/// allocate, or copy from the host; the recording refuses that. A step whose memory was freed since is recorded anew.
/// </para>
/// </summary>
/// <typeparam name="TShape">What tells shapes apart: all that decides which kernels run, on which tensors, with which numbers.</typeparam>
public sealed class StepRecorder<TShape> : IDisposable where TShape : struct, IEquatable<TShape>
{
    // Shapes come and go; those of long ago are not worth their memory.
    private const int MostShapes = 64;
    private readonly KernelDevice? _device;
    private readonly Dictionary<TShape, Recording?> _steps = [];

    /// <summary>A recorder of steps on a device.</summary>
    public StepRecorder(Device device) => _device = device is KernelDevice { RecordsSteps: true } kernels ? kernels : null;

    /// <summary>Runs a step.</summary>
    /// <param name="shape">Its shape.</param>
    /// <param name="step">What to do; not called where it is recorded already.</param>
    /// <exception cref="DeviceException">While it was recorded the step waited, allocated or copied from the host.</exception>
    public void Run(TShape shape, Action step) => Run(shape, step, static x => x());

    /// <summary>Runs a step that is given what it works on, so that a static lambda serves and nothing is allocated where nothing is recorded.</summary>
    /// <param name="shape">Its shape.</param>
    /// <param name="state">What is handed to the step.</param>
    /// <param name="step">What to do; not called where it is recorded already.</param>
    /// <exception cref="DeviceException">While it was recorded the step waited, allocated or copied from the host.</exception>
    public void Run<TState>(TShape shape, TState state, Action<TState> step)
    {
        if (_device is null) step(state);
        else Bind(_device, shape, state, step);
    }

    // Apart, because a lambda's captures are allocated where its method begins.
    private void Bind<TState>(KernelDevice device, TShape shape, TState state, Action<TState> step) => RunOn(device, shape, () => step(state));

    private void RunOn(KernelDevice device, TShape shape, Action step)
    {
        bool isKnown = _steps.TryGetValue(shape, out Recording? recording);
        if (recording is { IsValid: true })
        {
            recording.Replay();
            return;
        }
        recording?.Dispose();
        if (_steps.Count == MostShapes && !isKnown) Forget();
        _steps.Remove(shape);
        if (isKnown && recording is null)
        {
            recording = device.Record(step);
            _steps[shape] = recording;
            recording.Replay();
            return;
        }
        step();
        _steps[shape] = null;
    }

    /// <summary>Gives all recordings back.</summary>
    public void Dispose() => Forget();

    private void Forget()
    {
        foreach (Recording? recording in _steps.Values) recording?.Dispose();
        _steps.Clear();
    }
}
